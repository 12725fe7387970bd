// One feature map, large, with its kernels; the unit that is chosen on it, and how its value comes about.
import { latest, postBinary, postJson } from '../api.js'
import { fromNumbers } from '../colours.js'
import { button, field, h, replace } from '../dom.js'
import { number, shape, t } from '../i18n.js'
import { sums } from './sums.js'

const SHOWN = 300 // pixels of the map's longer side, about

// The row and column of the value that is furthest from 0
const strongest = (values, width) => {
  const index = values.reduce((best, v, i) => (Math.abs(v) > Math.abs(values[best]) ? i : best), 0)
  return [Math.floor(index / width), index % width]
}

export function detail(model, seen, rowOf) {
  const holder = h('div', { class: 'detail', id: `detail-${model.name}` })
  let at = null // { layer, map, unit }; the unit is null until the map is there
  let pixels = null
  let plane = null

  function open(layer, map) {
    const flat = layer.output.length === 1
    at = { layer, map: flat ? 0 : map, unit: flat ? [map] : null }
    rowOf(layer.path).append(holder)
    load()
    holder.tabIndex = -1
    holder.focus({ preventScroll: true })
  }

  function close() {
    const row = rowOf(at.layer.path)
    at = null
    holder.remove()
    seen.field(null)
    row.querySelector('button.maps').focus()
  }

  const load = latest(async () => {
    if (!at || !pixels) return
    const asked = at
    const { layer, map } = asked
    const { header, floats } = await postBinary('lab/map', { model: model.name, path: layer.path, channel: map }, pixels)
    if (at !== asked || at.map !== map) return // another map has been opened, and is asked for next
    const values = floats(header.height * header.width)
    const { n, side } = header.kernels
    plane = { ...header, values, weights: floats(n * side * side) }
    at.unit ??= strongest(values, header.width)
    build()
    explain()
  })

  const explain = latest(async () => {
    if (!at?.unit) return
    const asked = at
    const { layer, map, unit } = asked
    const place = layer.output.length === 1 ? unit : [map, ...unit]
    const found = await postJson('lab/unit', { model: model.name, path: layer.path, unit: place.join(',') }, pixels)
    if (at !== asked) return
    seen.field(found.field)
    const copy = holder.querySelector('canvas.input')
    copy.getContext('2d').drawImage(seen.canvas, 0, 0)
    replace(holder.querySelector('.sums'), ...sums(found))
    const { dataset } = holder
    Object.assign(dataset, { path: found.path, unit: place.join(','), value: found.value, result: found.result })
  })

  function build() {
    const { layer, map } = at
    const flat = layer.output.length === 1
    const n = layer.output[0]
    const chooser = h('input', { type: 'number', min: 0, max: n - 1, value: flat ? at.unit[0] : map, inputmode: 'numeric' })
    chooser.onchange = () => {
      const wanted = Math.max(0, Math.min(n - 1, Math.floor(Number(chooser.value) || 0)))
      if (flat) { at.unit = [wanted]; build(); explain() } else { at.map = wanted; load() }
    }
    replace(holder,
      h('div', { class: 'detail-head' }, h('h4', {}, t(flat ? 'look.unit_of' : 'look.map_of', { path: layer.path, n })), button('×', close, { class: 'close', 'aria-label': t('look.close') })),
      h('code', {}, layer.code),
      field(t(flat ? 'look.unit' : 'look.map'), chooser),
      h('div', { class: 'detail-body' }, flat ? null : h('div', {}, large(), h('p', { class: 'hint' }, t('look.choose'))), framed(), kernels()),
      h('div', { class: 'sums', 'aria-live': 'polite' }))
  }

  // The map; a unit is chosen with the pointer or with the arrow keys
  function large() {
    const { height, width, values, most } = plane
    const scale = Math.max(1, Math.min(24, Math.floor(SHOWN / Math.max(height, width))))
    const canvas = h('canvas', { class: 'map', width: width * scale, height: height * scale, tabindex: 0, role: 'application', 'aria-label': t('look.units', { shape: shape([height, width]) }) })
    const paper = canvas.getContext('2d')
    const told = h('output', {})
    const source = fromNumbers(values, width, height, most)
    const paint = () => {
      const [row, column] = at.unit
      paper.imageSmoothingEnabled = false
      paper.drawImage(source, 0, 0, canvas.width, canvas.height)
      Object.assign(paper, { strokeStyle: '#e5484d', lineWidth: 2 })
      paper.strokeRect(column * scale - 1, row * scale - 1, scale + 2, scale + 2)
      told.textContent = t('look.value', { row, column, value: number(values[row * width + column], 5) })
    }
    const choose = (row, column) => {
      at.unit = [Math.max(0, Math.min(height - 1, row)), Math.max(0, Math.min(width - 1, column))]
      paint()
      explain()
    }
    canvas.onclick = event => {
      const box = canvas.getBoundingClientRect()
      choose(Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width))
    }
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
    canvas.onkeydown = event => {
      if (!steps[event.key]) return
      event.preventDefault()
      choose(at.unit[0] + steps[event.key][0], at.unit[1] + steps[event.key][1])
    }
    paint()
    return h('div', {}, canvas, told)
  }

  // The input with the receptive field, for the layers far below it
  function framed() {
    const { width, height } = seen.canvas
    return h('div', {}, h('h5', {}, t('look.sees')), h('canvas', { class: 'input', width, height, role: 'img', 'aria-label': t('look.sees') }))
  }

  function kernels() {
    const { n, of, side, most } = plane.kernels
    if (!n) return null
    const scale = Math.max(4, Math.min(16, Math.floor(48 / side)))
    const drawn = Array.from({ length: n }, (_, i) => {
      const canvas = h('canvas', { width: side * scale, height: side * scale, 'aria-hidden': true })
      const paper = canvas.getContext('2d')
      paper.imageSmoothingEnabled = false
      paper.drawImage(fromNumbers(plane.weights.subarray(i * side * side, (i + 1) * side * side), side, side, most), 0, 0, canvas.width, canvas.height)
      return canvas
    })
    const about = of > n ? t('look.first_kernels', { n, of, side }) : t('look.kernels', { n, side })
    return h('div', { class: 'kernels' }, h('h5', {}, about), h('div', {}, drawn))
  }

  holder.addEventListener('keydown', event => { if (event.key === 'Escape') close() })
  return {
    open,
    update(given) { pixels = given; load() },
    repaint: () => { if (at && plane) { build(); explain() } },
  }
}
