// Uses the unmodified @clickhouse/client; prints one JSON object of what it saw.
import { createRequire } from 'node:module'
const [, , root, url, compress] = process.argv
const { createClient } = createRequire(root + '/')('@clickhouse/client')
const compression = { response: compress === 'true', request: compress === 'true' }
const quiet = { debug() {}, trace() {}, info() {}, warn() {}, error() {} }
const log = { LoggerClass: class { constructor() { Object.assign(this, quiet) } } }
const connect = (username) => createClient({ url, username, password: 'pw', compression, log })
const reader = connect('agent'), writer = connect('collector')
const seen = {}
const see = async (name, work) => {
  try { seen[name] = await work() } catch (error) { seen[name] = { code: error.code, type: error.type, message: String(error.message) } }
}
const rows = async (query, format, extra = {}) => {
  const answer = await reader.query({ query, format, ...extra })
  let count = 0
  for await (const batch of answer.stream()) count += batch.length
  return count
}
const breaks = 'SELECT number, throwIf(number = 400000) FROM numbers(500000)'
await see('ping', () => reader.ping({ select: true }))
await see('json', async () => (await (await reader.query({ query: 'SELECT 1 AS n' })).json()).data)
await see('params', async () => (await reader.query({
  query: 'SELECT {a:String} AS a, {b:Array(UInt8)} AS b', format: 'JSONEachRow',
  query_params: { a: "it's\t\n", b: [1, 2] },
  clickhouse_settings: { max_execution_time: 5, wait_end_of_query: 1 }, session_id: 's1',
})).json())
await see('names', async () => (await reader.query({
  query: "SELECT number AS n, 'x' AS s FROM numbers(2)", format: 'JSONCompactEachRowWithNamesAndTypes',
})).json())
await see('stream', () => rows('SELECT * FROM otel_metrics_gauge', 'JSONEachRow'))
await see('stream_names', () => rows('SELECT number FROM numbers(200000)', 'JSONCompactEachRowWithNames'))
await see('breaks', () => rows(breaks, 'JSONEachRow'))
await see('unknown', () => reader.query({ query: 'SELECT * FROM nosuch' }))
await see('insert', async () => (await writer.insert({
  table: 'otel_logs', format: 'JSONEachRow', values: [{ Body: 'node-' + compress, LogAttributes: { a: 'b' } }],
})).summary.written_rows)
await see('inserted', async () => (await reader.query({
  query: 'SELECT LogAttributes FROM otel_logs WHERE Body = {b:String}', format: 'JSONEachRow',
  query_params: { b: 'node-' + compress },
})).json())
await see('forbidden', () => reader.insert({ table: 'otel_logs', values: [{ Body: 'x' }], format: 'JSONEachRow' }))
await see('aborted', () => {
  const abort = new AbortController()
  setTimeout(() => abort.abort(), 200)
  return reader.query({ query: "SELECT count() FROM numbers(1e15) WHERE sipHash64(number) = 1 AND 'aborter' != ''", abort_signal: abort.signal })
})
await reader.close()
await writer.close()
console.log(JSON.stringify(seen))
