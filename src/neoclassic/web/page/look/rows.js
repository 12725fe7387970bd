// The layers as rows of feature maps: one canvas a layer, painted from the one sheet of it that the server sends.
import { fromBytes } from '../colours.js'
import { h } from '../dom.js'
import { number, shape, t } from '../i18n.js'

const GAP = 4 // with a rim of one pixel around each map

export function rows(model, choose) {
  const made = model.layers.map(layer => row(layer, choose))
  const by = new Map(made.map(one => [one.layer.path, one]))
  const element = h('ol', { class: 'rows' }, made.map(one => one.element))
  const paint = () => {
    const space = Math.max(element.clientWidth - 12, 120) // read once, before anything is painted
    made.forEach(one => one.paint(space))
  }
  const observer = new ResizeObserver(paint)
  observer.observe(element)
  return {
    element,
    show(sheets, take) {
      for (const sheet of sheets) by.get(sheet.path)?.set(sheet, take(sheet.maps * sheet.height * sheet.width))
      paint()
    },
    row: path => by.get(path)?.element,
    repaint: paint,
    end: () => observer.disconnect(),
  }
}

function row(layer, choose) {
  const canvas = h('canvas', { width: 1, height: 1, 'aria-hidden': true })
  const paper = canvas.getContext('2d')
  const most = h('span', { class: 'most' })
  const about = `${layer.path}, ${layer.text}, ${t('look.maps', { shape: shape(layer.output) })}`
  const opener = h('button', { type: 'button', class: 'maps', 'aria-label': about }, canvas)
  let sheet = null
  let bytes = null
  let tile = null

  function paint(space) {
    if (!sheet) return
    tile = layout(sheet, space)
    const [wide, tall] = [tile.columns * tile.x, Math.ceil(tile.n / tile.columns) * tile.y]
    if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall })
    paper.clearRect(0, 0, wide, tall)
    paper.imageSmoothingEnabled = false
    paper.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--rim')
    const { height, width } = sheet
    const flat = layer.output.length === 1
    const source = flat ? fromBytes(bytes, width, 1) : fromBytes(bytes, width, sheet.maps * height)
    for (let i = 0; i < tile.n; i++) {
      const from = flat ? [i, 0, 1, 1] : [0, i * height, width, height]
      const [x, y] = [(i % tile.columns) * tile.x, Math.floor(i / tile.columns) * tile.y]
      paper.fillRect(x, y, tile.width + 2 * tile.rim, tile.height + 2 * tile.rim)
      paper.drawImage(source, ...from, x + tile.rim, y + tile.rim, tile.width, tile.height)
    }
    most.textContent = `±${number(sheet.most, 3)}`
  }

  opener.onclick = event => {
    if (!tile) return
    const box = canvas.getBoundingClientRect()
    const column = Math.floor((event.clientX - box.left) / tile.x)
    const line = Math.floor((event.clientY - box.top) / tile.y)
    const pointed = event.detail > 0 && column >= 0 && column < tile.columns && line >= 0
    choose(layer, pointed ? Math.min(line * tile.columns + column, tile.n - 1) : 0)
  }
  const kind = h('span', { class: `kind ${layer.style}` }, layer.text)
  const head = h('div', { class: 'row-head' }, h('b', {}, layer.path), kind, h('span', { class: 'shape' }, shape(layer.output)), most)
  return {
    layer,
    element: h('li', { class: 'row', 'data-path': layer.path }, head, opener),
    set(given, data) { sheet = given; bytes = data },
    paint,
  }
}

// How many tiles of which size there are in a row
function layout(sheet, space) {
  const flat = sheet.maps === 1 && sheet.height === 1 && sheet.width > 1
  const n = flat ? sheet.width : sheet.maps
  const scale = flat ? 11 : Math.max(1, Math.min(14, Math.round(46 / sheet.width)))
  const [width, height] = flat ? [scale, scale] : [sheet.width * scale, sheet.height * scale]
  const gap = flat ? 1 : GAP
  const columns = Math.max(1, Math.min(n, Math.floor(space / (width + gap))))
  return { n, columns, width, height, rim: flat ? 0 : 1, x: width + gap, y: height + gap }
}
