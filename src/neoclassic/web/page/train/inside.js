// What the network looks like now: kernels, feature maps of a held-out image, mistakes, and how values spread.
import { getBinary, latest } from '../api.js'
import { fromBytes, fromPixels } from '../colours.js'
import { button, choice, field, h, replace, table } from '../dom.js'
import { number, percent, shape, t } from '../i18n.js'
import { histogram } from './spread.js'

const GAP = 3

export function inside(steer) {
  const parts = Object.fromEntries(['kernels', 'maps', 'mistakes', 'spread'].map(name => [name, h('div')]))
  const chosen = h('div', { class: 'controls' })
  const element = h('div', { id: 'inside', hidden: true },
    h('div', { class: 'pair' },
      h('section', { class: 'card' }, parts.kernels),
      h('section', { class: 'card' }, h('h2', {}, t('train.maps')), chosen, parts.maps)),
    h('section', { class: 'card' }, h('h2', {}, t('train.mistakes')), h('p', { class: 'hint' }, t('train.mistakes.about')), parts.mistakes),
    h('section', { class: 'card' }, h('h2', {}, t('train.spread')), h('p', { class: 'hint' }, t('train.spread.about')), parts.spread))
  let path = null
  let layers = ''
  let seen = null
  let known = ''
  let image = 0
  let images = 1

  function paint() {
    if (!seen) return
    const { header, pixels, maps, mistaken, kernels } = seen
    replace(parts.kernels, kernels ? kernelSheet(header.kernels, kernels) : [])
    replace(parts.maps, input(header, pixels), sheetOf(header.maps, maps, t('train.maps')))
    replace(parts.mistakes, mistakesOf(header, mistaken))
    replace(parts.spread, spreadTable(header))
  }

  const look = latest(async () => {
    try {
      const { header, take } = await getBinary('lab/train/glance', { path })
      const [channels, height, width] = header.input
      const size = channels * height * width
      const of = sheet => (sheet ? take(sheet.maps * sheet.height * sheet.width) : null)
      image = header.index
      seen = { header, pixels: take(size), maps: of(header.maps), mistaken: header.mistakes.map(() => take(size)), kernels: of(header.kernels) }
      paint()
      element.dataset.glances = Number(element.dataset.glances ?? 0) + 1
    } catch {
      // a training began meanwhile: its first look is on its way
    }
  })

  function choose(news) {
    const paths = news.layers.map(layer => layer.path)
    if (!paths.includes(path)) path = paths.find(one => one !== '') ?? paths[0]
    const options = news.layers.map(layer => [layer.path, `${layer.path} · ${layer.text} · ${shape(layer.output)}`])
    replace(chosen,
      field(t('train.layer'), choice(options, path, value => { path = value; look() }, { id: 'layer' })),
      button(t('train.another'), () => steer({ image: (image + 1) % images }), { id: 'another' }))
  }

  function show(news) {
    element.hidden = !news.glances || !news.layers.length
    images = news.held_out_images ?? 1
    const now = JSON.stringify(news.layers)
    if (now !== layers) { layers = now; choose(news) }
    const version = `${news.glances} ${layers}`
    if (!element.hidden && version !== known) { known = version; look() }
  }

  return { element, show, repaint: paint }
}

const canvas = (source, scale, label) => {
  const made = h('canvas', { width: source.width * scale, height: source.height * scale, role: 'img', 'aria-label': label })
  const paper = made.getContext('2d')
  paper.imageSmoothingEnabled = false
  paper.drawImage(source, 0, 0, made.width, made.height)
  return made
}

function input(header, pixels) {
  const [, height, width] = header.input
  const scale = Math.max(1, Math.round(84 / width))
  const label = t('train.image.label', { label: header.label })
  return h('figure', { class: 'shown' }, canvas(fromPixels(pixels, width, height), scale, label), h('figcaption', {}, label))
}

// The maps of a sheet beside each other
function sheetOf(sheet, bytes, label, side = 48) {
  const flat = sheet.maps === 1 && sheet.height === 1
  const [n, w, tall] = flat ? [sheet.width, 1, 1] : [sheet.maps, sheet.width, sheet.height]
  const source = flat ? fromBytes(bytes, n, 1) : fromBytes(bytes, w, n * tall)
  const scale = flat ? 11 : Math.max(1, Math.round(side / w))
  const [x, y] = [w * scale + GAP, tall * scale + GAP]
  const columns = Math.max(1, Math.min(n, Math.floor(560 / x)))
  const made = h('canvas', { class: 'sheet', width: columns * x, height: Math.ceil(n / columns) * y, role: 'img', 'aria-label': label })
  const paper = made.getContext('2d')
  paper.imageSmoothingEnabled = false
  for (let i = 0; i < n; i++) {
    const from = flat ? [i, 0, 1, 1] : [0, i * tall, w, tall]
    paper.drawImage(source, ...from, (i % columns) * x, Math.floor(i / columns) * y, w * scale, tall * scale)
  }
  return made
}

function kernelSheet(sheet, bytes) {
  const about = t('train.kernels.about', { n: sheet.maps, side: sheet.width, most: number(sheet.most, 2) })
  const title = t('train.kernels', { path: sheet.path })
  return [h('h2', {}, title), h('p', { class: 'hint' }, about), sheetOf(sheet, bytes, title, 64)]
}

function mistakesOf(header, mistaken) {
  if (!mistaken.length) return [h('p', {}, t('train.no_mistakes'))]
  const [, height, width] = header.input
  const scale = Math.max(1, Math.round(64 / width))
  return [h('div', { class: 'mistakes' }, header.mistakes.map((one, i) => {
    const text = t('train.mistake', { answer: one.answer, p: percent(one.probability), label: one.label })
    return h('figure', {}, canvas(fromPixels(mistaken[i], width, height), scale, text), h('figcaption', {}, text))
  }))]
}

function spreadTable(header) {
  const gradients = new Map(header.gradients.map(one => [one.path, one]))
  const head = ['layer', 'activations', 'zeros', 'gradients'].map(name => t(`train.${name}`))
  const cells = header.activations.map(one => [one.path || '·', histogram(one, 'activations'), percent(one.zeros),
    gradients.has(one.path) ? histogram(gradients.get(one.path), 'gradients') : ''])
  return h('div', { class: 'wide spreads', tabindex: 0, role: 'region', 'aria-label': t('train.spread') }, table(head, cells))
}
