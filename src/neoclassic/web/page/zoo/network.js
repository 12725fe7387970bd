// One network: its figures, its drawing, its layers, and what there is to say of the layer that is chosen.
import { getJson } from '../api.js'
import { button, choice, drawing, emphasised, field, fromHash, h, replace } from '../dom.js'
import { bytes, count, percent, shape, t, told } from '../i18n.js'
import { layerCard, layerTable } from './layer.js'

export async function network(name, names, session, partner = '') {
  const holder = h('section', { class: 'network' })
  const wish = {}
  const fetchIt = async () => {
    const found = await getJson('lab/network', { name, ...wish })
    const focused = document.activeElement?.name
    replace(holder, ...parts(found))
    if (focused) holder.querySelector(`[name=${focused}]`)?.focus()
  }
  const message = h('p', { role: 'alert', class: 'error' })
  const ask = async changes => {
    const before = { ...wish }
    Object.assign(wish, changes)
    try {
      await fetchIt()
      message.textContent = ''
    } catch (error) {
      Object.assign(wish, before)
      message.textContent = error.message
    }
  }

  function parts(found) {
    const chosen = h('div', { class: 'chosen', 'aria-live': 'polite' })
    const choose = path => {
      const layer = found.layers.find(one => one.path === path)
      replace(chosen, layerCard(layer, found.name))
      for (const row of holder.querySelectorAll('[data-path]')) row.toggleAttribute('data-chosen', row.dataset.path === path)
      mark(figure, found.layers, path)
    }
    const figure = zoomable(found, choose)
    const rows = layerTable(found.layers, path => { choose(path); chosen.scrollIntoView({ block: 'nearest' }) })
    const first = found.layers.find(layer => layer.leaf && layer.parameters)
    queueMicrotask(() => choose((first ?? found.layers[0]).path))
    return [
      partner ? h('h2', {}, found.name) : null,
      h('p', { class: 'lead' }, `${found.year || ''} ${told(found.about)}`),
      found.differences ? h('p', {}, `${t('zoo.differs')} `, ...emphasised(told(found.differences))) : null,
      totals(found), controls(found), message, h('div', { class: partner ? null : 'explore' }, figure, chosen), rows,
    ]
  }

  function controls(found) {
    const [channels, height] = found.input
    const classes = h('input', { name: 'classes', type: 'number', min: 1, max: 100000, value: found.classes, inputmode: 'numeric' })
    const side = h('input', { name: 'side', type: 'number', min: 1, max: 1024, value: height, inputmode: 'numeric' })
    classes.onchange = () => ask({ classes: classes.value })
    side.onchange = () => ask({ input: `${channels}x${side.value}x${side.value}` })
    const others = [['', t('zoo.nothing')], ...names.filter(other => other !== name).map(other => [other, other])]
    const go = other => { location.hash = other ? fromHash('zoo', name, 'with', other) : fromHash('zoo', name) }
    const models = session.models.filter(model => model === name || model.startsWith(`${name}@`))
    return h('div', { class: 'controls' },
      field(t('zoo.classes'), classes), field(t('zoo.side'), side), field(t('zoo.compare'), choice(others, partner, go)),
      models.map(model => h('a', { class: 'button', href: fromHash('look', model) }, t('zoo.look', { model }))))
  }

  await fetchIt()
  return holder
}

function totals(found) {
  const facts = [
    [shape(found.input), t('zoo.input')], [count(found.parameters), t('zoo.parameters')], [count(found.macs), 'MACs'],
    [bytes(found.memory.weights), t('zoo.weights')], [bytes(found.memory.training), t('zoo.training')],
    [found.depth.toString(), t('zoo.layers')],
  ]
  if (found.accuracy) facts.push([percent(found.accuracy), t('zoo.imagenet')])
  return h('dl', { class: 'cards' }, facts.map(([value, about]) => h('div', {}, h('dt', {}, about), h('dd', {}, value))))
}

// The drawing, which is enlarged with buttons, and whose boxes choose a layer. The keyboard uses the table below it.
function zoomable(found, choose) {
  const svg = drawing(found.svg)
  const natural = Number(svg.getAttribute('width'))
  const frame = h('div', { class: 'frame', tabindex: 0, role: 'region', 'aria-label': t('zoo.drawing', { name: found.name }) }, svg)
  let zoom = 0 // 0: as wide as the frame, if the drawing is wider
  const apply = () => { svg.style.maxWidth = zoom ? 'none' : '100%'; svg.style.width = zoom ? `${natural * zoom}px` : `${natural}px` }
  const times = factor => { zoom = Math.min(6, Math.max(0.1, (zoom || svg.clientWidth / natural) * factor)); apply() }
  for (const box of svg.querySelectorAll('rect')) {
    const path = pathOf(box, found.layers)
    if (path === undefined) continue
    box.classList.add('layer')
    box.dataset.layer = path
    box.addEventListener('click', () => choose(path))
    for (let next = box.nextElementSibling; next && next.tagName === 'text'; next = next.nextElementSibling) next.style.pointerEvents = 'none'
  }
  apply()
  const bar = h('div', { class: 'bar' },
    button('+', () => times(1.4), { 'aria-label': t('zoo.larger') }), button('−', () => times(1 / 1.4), { 'aria-label': t('zoo.smaller') }),
    button(t('zoo.fit'), () => { zoom = 0; apply() }), h('span', { class: 'hint' }, t('zoo.click')))
  return h('div', { class: 'drawing' }, bar, frame)
}

// The first line of a box's title begins with the path of its first layer.
function pathOf(box, layers) {
  const title = box.querySelector('title')?.textContent ?? ''
  return layers.find(layer => title.startsWith(`${layer.path}: `) && layer.path)?.path
}

function mark(figure, layers, path) {
  for (const box of figure.querySelectorAll('rect.layer')) {
    const titles = box.querySelector('title').textContent.split('\n')
    box.classList.toggle('marked', titles.some(line => line.startsWith(`${path}: `)))
  }
}
