// The network's input, on which three things can be shown: the evidence for a class, a receptive field, and a grey
// patch that is dragged to hide a part.
import { postBinary } from '../api.js'
import { fromPixels } from '../colours.js'
import { button, h, replace } from '../dom.js'
import { t } from '../i18n.js'

const SHOWN = 252 // pixels of the longer side, about

export function picture(model, occlude) {
  const [channels, height, width] = model.input
  const scale = Math.max(1, Math.round(SHOWN / Math.max(height, width)))
  const canvas = h('canvas', { class: 'input', width: width * scale, height: height * scale, role: 'img', 'aria-label': t('look.input') })
  const paper = canvas.getContext('2d')
  const side = Math.max(2, Math.round(Math.min(height, width) / 5))
  const patch = { row: Math.round((height - side) / 2), column: Math.round((width - side) / 2) }
  const note = h('p', { class: 'hint', 'aria-live': 'polite' })
  let pixels = null
  let heat = null
  let field = null
  let hiding = false

  function paint() {
    paper.imageSmoothingEnabled = false
    paper.clearRect(0, 0, canvas.width, canvas.height)
    if (!pixels) return
    paper.drawImage(fromPixels(hiding ? hidden() : pixels, width, height), 0, 0, canvas.width, canvas.height)
    if (heat) warm()
    if (field) frame()
    if (hiding) outline(patch.column, patch.row, side, side, '#fff')
  }

  // The evidence from transparent to orange
  function warm() {
    const rgba = new Uint8ClampedArray(4 * height * width)
    heat.forEach((value, i) => rgba.set([255, 90 + 0.5 * value, 20, 0.8 * value], 4 * i))
    const layer = document.createElement('canvas')
    Object.assign(layer, { width, height })
    layer.getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0)
    paper.imageSmoothingEnabled = true
    paper.drawImage(layer, 0, 0, canvas.width, canvas.height)
  }

  function frame() {
    const [[top, bottom], [left, right]] = field
    paper.fillStyle = 'rgba(0,0,0,.55)'
    paper.fillRect(0, 0, canvas.width, top * scale)
    paper.fillRect(0, bottom * scale, canvas.width, canvas.height)
    paper.fillRect(0, top * scale, left * scale, (bottom - top) * scale)
    paper.fillRect(right * scale, top * scale, canvas.width, (bottom - top) * scale)
    outline(left, top, right - left, bottom - top, '#ffb454')
  }

  function outline(x, y, w, tall, colour) {
    Object.assign(paper, { strokeStyle: colour, lineWidth: 2 })
    paper.strokeRect(x * scale + 1, y * scale + 1, w * scale - 2, tall * scale - 2)
  }

  function hidden() {
    const covered = pixels.slice()
    const grey = Math.round(pixels.reduce((sum, v) => sum + v, 0) / pixels.length)
    for (let row = patch.row; row < patch.row + side; row++) {
      covered.fill(grey, (row * width + patch.column) * channels, (row * width + patch.column + side) * channels)
    }
    return covered
  }

  function move(row, column) {
    patch.row = Math.max(0, Math.min(height - side, Math.round(row)))
    patch.column = Math.max(0, Math.min(width - side, Math.round(column)))
    paint()
    occlude(hidden())
  }

  const hide = button(t('look.hide'), () => {
    if (!pixels) return
    turn(!hiding)
    paint()
    if (hiding) canvas.focus()
    occlude(hiding ? hidden() : null)
  }, { 'aria-pressed': 'false' })

  function turn(on) {
    hiding = on
    heat = null
    hide.setAttribute('aria-pressed', on)
    canvas.classList.toggle('hiding', on)
    if (on) canvas.tabIndex = 0
    else canvas.removeAttribute('tabindex')
    canvas.setAttribute('role', on ? 'application' : 'img')
    canvas.setAttribute('aria-label', t(on ? 'look.patch' : 'look.input'))
    note.textContent = on ? t('look.patch') : ''
  }

  const plain = button(t('look.plain'), () => { heat = null; field = null; note.textContent = ''; paint() })

  let dragged = false
  const drag = event => {
    const box = canvas.getBoundingClientRect()
    move(((event.clientY - box.top) / box.height) * height - side / 2, ((event.clientX - box.left) / box.width) * width - side / 2)
  }
  canvas.onpointerdown = event => { if (hiding) { dragged = true; canvas.setPointerCapture(event.pointerId); drag(event) } }
  canvas.onpointermove = event => { if (dragged) drag(event) }
  canvas.onpointerup = canvas.onpointercancel = () => { dragged = false }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
  canvas.onkeydown = event => {
    if (!hiding || !steps[event.key]) return
    event.preventDefault()
    const [down, right] = steps[event.key].map(step => step * Math.max(1, Math.round(side / 4)))
    move(patch.row + down, patch.column + right)
  }

  const able = model.layers.length > 0
  return {
    element: h('div', { class: 'picture' }, canvas, replace(h('div', { class: 'bar' }), able ? [hide, plain] : []), note),
    show(given) { pixels = given; field = null; turn(false); paint() },
    field(span) { field = span; heat = null; paint() },
    async evidence(index, label) {
      if (!able || !pixels) return
      const { take } = await postBinary('lab/cam', { model: model.name, class: index }, pixels)
      heat = take(height * width)
      field = null
      note.textContent = t('look.evidence', { label })
      paint()
    },
    repaint: paint,
    canvas,
  }
}
