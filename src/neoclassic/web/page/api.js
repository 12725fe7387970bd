// Requests to the server. Each takes the token of the page's own address along.
import { t } from './i18n.js'

const token = new URLSearchParams(location.search).get('token')

export const hasToken = () => token !== null

async function ask(path, query, options = {}) {
  const parameters = new URLSearchParams(query).toString()
  const headers = { ...options.headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) }
  const answer = await fetch(parameters ? `${path}?${parameters}` : path, { ...options, headers }).catch(() => null)
  if (!answer) throw new Error(t('shell.gone'))
  if (answer.ok) return answer
  const { error } = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }))
  throw new Error(error)
}

export const getJson = async (path, query = {}) => (await ask(path, query)).json()
export const getBlob = async path => (await ask(path)).blob()
export const getBinary = async (path, query = {}) => unpack(await (await ask(path, query)).arrayBuffer())

// A body is a Blob (an image file), or a Uint8Array (the pixels of a model's input).
const post = (path, query, body) =>
  ask(path, query, {
    method: 'POST',
    body,
    headers: { 'Content-Type': body instanceof Blob ? 'image/*' : 'application/octet-stream' },
  })

export const postJson = async (path, query, body) => (await post(path, query, body)).json()
export const postBinary = async (path, query, body) => unpack(await (await post(path, query, body)).arrayBuffer())

// A request that changes something, whose parameters are all in the address
export const act = async (path, query = {}) => (await ask(path, query, { method: 'POST' })).json()

// Server-sent events, each as its JSON. EventSource cannot send the token, so the stream is read here. `ended` is
// called when the server ends it or cannot be reached; the signal ends it without a call.
export async function events(path, heard, ended, signal) {
  try {
    const reader = (await ask(path, {}, { signal })).body.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) break
      const messages = (text + value).split('\n\n')
      text = messages.pop()
      for (const message of messages) heard(JSON.parse(message.replace(/^data: /, '')))
    }
  } catch (error) {
    if (signal.aborted) return
  }
  if (!signal.aborted) ended()
}

// What the server packs: the length of a JSON header, the header, and bytes. `take(n)` gives the next n bytes, and
// `floats(n)` the next n numbers.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true)
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))
  let at = 4 + length
  const move = n => { at += n; return at - n }
  return {
    header,
    take: n => new Uint8Array(buffer, move(n), n),
    floats: n => new Float32Array(buffer.slice(move(4 * n), at)),
  }
}

// Of calls that overtake each other, run one at a time and only the last of those that wait.
export function latest(work) {
  let running = false
  let waiting = null
  return async function call(...given) {
    if (running) { waiting = given; return }
    running = true
    try {
      await work(...given)
    } finally {
      running = false
      if (waiting) { const next = waiting; waiting = null; call(...next) }
    }
  }
}
