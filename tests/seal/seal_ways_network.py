"""Ways out over a socket."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from seal_ways import LANDED, Reach, way

Tries = Iterator[None]
LOOPBACK = "127.0.0.1"
EXPERIMENTAL = 253  # RFC 3692


@way("arrived")
def dial_tcp(reach: Reach) -> Tries:
    yield
    with socket.create_connection((LOOPBACK, reach.tcp_port)) as one:
        one.sendall(reach.data)


@way("arrived")
def dial_a_unix_socket(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(reach.unix_path)
        one.sendall(reach.data)


@way("arrived")
def dial_an_abstract_socket(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(reach.abstract)
        one.sendall(reach.data)


@way("arrived")
def send_udp(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(reach.data, (LOOPBACK, reach.udp_port))


@way("arrived")
def send_a_unix_datagram(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(reach.data, reach.datagram_path)


@way("arrived")
def system_log_over_udp(reach: Reach) -> Tries:
    import logging.handlers

    yield
    handler = logging.handlers.SysLogHandler((LOOPBACK, reach.udp_port))
    handler.emit(logging.makeLogRecord({"msg": reach.text}))


@way("arrived")
def system_log_over_a_unix_socket(reach: Reach) -> Tries:
    import logging.handlers

    yield
    handler = logging.handlers.SysLogHandler(reach.datagram_path)
    handler.emit(logging.makeLogRecord({"msg": reach.text}))


@way("arrived")
def pass_a_descriptor(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(reach.unix_path)
        socket.send_fds(one, [reach.data], [1])


@way("arrived", optional=True)
def send_a_raw_packet(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, EXPERIMENTAL) as one:
        one.sendto(reach.data, (LOOPBACK, 0))


@way("said")
def ask_by_netlink(reach: Reach) -> Tries:
    get_links = struct.pack("=IHHIIBxxx", 20, 18, 0x301, 1, 0, 0)
    yield
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as one:
        one.sendto(get_links, (0, 0))
        if one.recv(64):
            os.write(1, f"{LANDED}\n".encode())


@way("said")
def pair_of_sockets(reach: Reach) -> Tries:
    yield
    one, two = socket.socketpair()
    one.sendall(b"x")
    if two.recv(1):
        os.write(1, f"{LANDED}\n".encode())


@way("listens")
def listen_on_a_port(reach: Reach) -> Tries:
    yield
    one = socket.create_server((LOOPBACK, reach.free_port))
    os.dup(one.fileno())


@way("tree")
def listen_on_a_path(reach: Reach) -> Tries:
    yield
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(reach.file("s")))


# Sockets that were there before.


@way("arrived", before="refused")
def udp_socket_from_before(reach: Reach) -> Tries:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield
    one.sendmsg([reach.data], [], 0, (LOOPBACK, reach.udp_port))


@way("arrived", before="overlooked")
def udp_socket_from_before_with_an_address(reach: Reach) -> Tries:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield
    one.sendto(reach.data, (LOOPBACK, reach.udp_port))


@way("arrived", before="overlooked")
def tcp_socket_from_before(reach: Reach) -> Tries:
    one = socket.socket()
    yield
    one.connect((LOOPBACK, reach.tcp_port))
    one.sendall(reach.data)


@way("arrived", before="overlooked")
def tcp_socket_from_before_with_data_in_its_syn(reach: Reach) -> Tries:
    one = socket.socket()
    yield
    one.sendto(reach.data, socket.MSG_FASTOPEN, (LOOPBACK, reach.tcp_port))


@way("arrived", before="refused")
def tcp_socket_from_before_with_data_in_its_message(reach: Reach) -> Tries:
    one = socket.socket()
    yield
    one.sendmsg([reach.data], [], socket.MSG_FASTOPEN, (LOOPBACK, reach.tcp_port))


@way("arrived", before="refused")
def connected_socket_from_before(reach: Reach) -> Tries:
    one = socket.create_connection((LOOPBACK, reach.tcp_port))
    yield
    one.sendall(reach.data)


@way("listens", before="overlooked")
def listen_on_a_socket_from_before(reach: Reach) -> Tries:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((LOOPBACK, reach.free_port))
    yield
    one.listen()
    os.dup(one.fileno())  # stays when `one` is gone
