// One model: its input as it sees it, its answer, and its layers.
import { latest, postBinary } from '../api.js'
import { button, choice, field, h, replace } from '../dom.js'
import { count, percent, shape, t } from '../i18n.js'
import { detail } from './detail.js'
import { picture } from './picture.js'
import { rows } from './rows.js'

export function column(model) {
  const [channels, height, width] = model.input
  const answers = h('div', { 'aria-live': 'polite' }, h('p', { class: 'hint' }, t('look.wait')))
  const seen = picture(model, pixels => hidden(pixels))
  const layers = rows(model, (layer, map) => panel.open(layer, map))
  const panel = detail(model, seen, path => layers.row(path))
  const classes = model.classes.map((label, index) => [index, label])
  const evidence = field(t('look.evidence_for'), choice([['', '–'], ...classes], '', index => index && seen.evidence(index, model.classes[index])))
  let pixels = null // of the image, without what is hidden

  const show = latest(async (body, isHidden, done, failed) => {
    try {
      const { header, take } = await postBinary('lab/look', { model: model.name }, body)
      const given = take(header.height * header.width * header.channels)
      if (!isHidden) { pixels = given; seen.show(given) }
      tell(header.top)
      layers.show(header.sheets, take)
      panel.update(given)
      element.dataset.looks = Number(element.dataset.looks ?? 0) + 1
      done()
    } catch (error) {
      failed(error)
    }
  })
  const ask = (body, isHidden) => new Promise((done, failed) => { show(body, isHidden, done, failed) })
  const hidden = given => ask(given ?? pixels, given !== null).catch(() => {})

  function tell(top) {
    const [best] = top
    const line = one => h('li', {},
      button(one.label, () => seen.evidence(one.index, one.label), { class: 'link', title: t('look.evidence', { label: one.label }) }),
      h('span', { class: 'bar-of', 'aria-hidden': true }, bar(one.probability)), h('span', { class: 'n' }, percent(one.probability)))
    replace(answers,
      h('p', { class: 'best' }, h('b', {}, best.label), h('span', {}, percent(best.probability))),
      h('ol', {}, top.map(line)))
  }

  const element = h('section', { class: 'model', 'aria-label': model.name },
    h('h2', {}, model.name),
    h('p', { class: 'hint' }, facts(model)),
    h('div', { class: 'seen' }, seen.element, h('div', { class: 'answers' }, answers, model.layers.length ? evidence : null)),
    model.layers.length ? h('h3', {}, t('look.layers')) : h('p', {}, t('look.no_layers')),
    model.layers.length ? h('p', { class: 'hint' }, t('look.click')) : null,
    layers.element)
  return {
    element,
    look: source => ask(source.pixels?.length === height * width * channels ? source.pixels : source.blob ?? file(source), false),
    repaint: () => { layers.repaint(); panel.repaint(); seen.repaint() },
    end: () => layers.end(),
  }
}

function bar(probability) {
  const inner = h('i', {})
  inner.style.width = `${100 * probability}%`
  return inner
}

function facts(model) {
  const parts = [`${shape(model.input)}`, t('look.classes', { n: model.classes.length.toLocaleString('en') }), `${count(model.parameters)} ${t('zoo.parameters')}`]
  if (model.data) parts.push(model.data)
  if (model.accuracy) parts.push(t('look.accuracy', { p: percent(model.accuracy) }))
  return parts.join(' · ')
}

// Grey pixels as an image file (a portable graymap), for a model that takes another size
function file({ pixels, height, width }) {
  const kind = pixels.length === height * width ? 'P5' : 'P6'
  return new Blob([`${kind}\n${width} ${height}\n255\n`, pixels], { type: 'image/x-portable-anymap' })
}
