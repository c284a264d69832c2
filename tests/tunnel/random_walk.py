"""A random walk through the world of two ends: reproducible by its seed."""

from __future__ import annotations

import random

from two_ends import World

SIZES = (1, 200, 5_000, 70_000, 200_000)


def walk(seed: int, steps: int = 250) -> None:
    """Drive a world at random, reproducibly, and check it all the way."""
    rng = random.Random(seed)
    world = World()
    greed = rng.choice((0.2, 1.0))  # some consumers hardly take anything
    for _ in range(steps):
        which, pick, size = rng.randrange(2), rng.randrange(8), rng.choice(SIZES)
        match rng.randrange(26):
            case 0 | 1 | 2:
                world.open(which)
            case 3 | 4 | 5:
                world.answer(which, pick)
            case 6 | 7 | 8 | 9:
                world.write(which, pick, size)
            case 10 | 11:
                world.mark(which, pick)
            case 12:
                world.end(which, pick)
            case 13:
                world.reset(which, pick)
            case 14 | 15 | 16:
                world.send(which, size)
            case 17 | 18 | 19 | 20:
                world.deliver(which, rng.choice((1, 3, 50)))
            case 21 | 22 | 23:
                world.consume(which, pick, int(greed * size) + 1)
            case 24:
                world.tick(rng.choice((0.1, 2.0)))
            case 25:
                rarely(rng, world, which, pick)
        world.check()
    world.settle()


def rarely(rng: random.Random, world: World, which: int, pick: int) -> None:
    """What would end most walks too early."""
    match rng.randrange(8):
        case 0:
            world.cut()
        case 1:
            world.drain(which)
        case 2 | 3 | 4:
            world.overrun(which, pick)
        case 5 | 6:
            world.speak_late(which, pick)
