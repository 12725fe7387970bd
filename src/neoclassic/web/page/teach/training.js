// What is trained and how far it is.
import { getJson, postJson } from '../api.js'
import { button, choice, field, h, replace, s } from '../dom.js'
import { percent, t } from '../i18n.js'

const EVERY = 300 // milliseconds between two questions
const nothing = new Uint8Array()

export function training(given, ready, told) {
  const heads = given.heads.map(name => [`head ${name}`, t('teach.head', { name })])
  const networks = given.networks.map(name => [`scratch ${name}`, t('teach.scratch', { name })])
  let way = heads[0]?.[0] ?? networks[0][0]
  const start = button(t('teach.train'), begin, { id: 'train' })
  const stop = button(t('teach.stop'), () => postJson('lab/teach/stop', {}, nothing), { hidden: true })
  const state = h('p', { id: 'state', 'aria-live': 'polite' })
  const curve = h('div', { class: 'taught' })
  const notes = h('div', {})
  let timer = null
  let ended = false

  async function begin() {
    told('')
    const [kind, name] = way.split(' ')
    try {
      show(await postJson('lab/teach/train', { way: kind, name }, nothing))
    } catch (error) { told(error.message) }
  }

  function show(now) {
    start.disabled = now.running
    stop.hidden = !now.running
    const { epochs = 0, log = [] } = now.progress ?? {}
    const last = log.at(-1)
    replace(curve, log.length > 1 ? drawn(log, epochs) : [])
    replace(notes, now.warnings.map(line => h('p', {}, line)))
    state.dataset.running = now.running
    if (now.running) {
      state.textContent = last ? t('teach.epoch', { epoch: last.epoch, epochs, train: percent(last.train_accuracy), held: percent(last.validation_accuracy ?? 0) }) : t('teach.starts')
      if (!ended) timer = setTimeout(ask, EVERY)
      return
    }
    state.textContent = ''
    if (now.error) told(now.error)
    else if (now.model) {
      const held = now.held_out
      state.textContent = held ? t('teach.done', { network: now.network, p: percent(held.accuracy), n: held.n }) : ''
      ready(now)
    }
  }
  async function ask() {
    try { show(await getJson('lab/teach/state')) } catch (error) { told(error.message) }
  }

  show(given)
  return {
    element: h('section', { class: 'card' }, h('h2', {}, t('teach.training')),
      h('div', { class: 'controls' }, field(t('teach.way'), choice([...heads, ...networks], way, value => { way = value }, { id: 'way' })), start, stop),
      h('p', { class: 'hint' }, t('teach.way.about', { least: given.least })), state, curve, notes),
    end: () => { ended = true; clearTimeout(timer) },
  }
}

// The accuracy by epoch: on the training photos, and on those that are held out
function drawn(log, epochs) {
  const width = 300
  const height = 80
  const line = (name, kind) => {
    const points = log.filter(row => row[name] !== null).map(row => `${((row.epoch / epochs) * width).toFixed(1)},${(height - row[name] * height).toFixed(1)}`)
    return s('polyline', { points: points.join(' '), class: kind })
  }
  return [
    s('svg', { viewBox: `-2 -2 ${width + 4} ${height + 4}`, role: 'img', 'aria-label': t('teach.curve') }, line('train_accuracy', 'trained'), line('validation_accuracy', 'held')),
    h('p', { class: 'hint' }, t('teach.curve')),
  ]
}
