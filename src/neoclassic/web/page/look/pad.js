// A pad to draw on with the mouse, a finger or a pen. Every stroke gives the pixels of the model's input.
//
// The digits of MNIST were scaled into a square of 20 pixels, and moved so that their centre of mass is in the middle
// of 28×28 (LeCun et al. 1998, "The MNIST database"). For a model of theirs, a drawing is treated in the same way.
import { button, h } from '../dom.js'
import { t } from '../i18n.js'

const SIDE = 280 // pixels of the pad

export function pad(height, width, digits, drawn) {
  const canvas = h('canvas', { id: 'pad', class: 'pad', width: SIDE, height: Math.round((SIDE * height) / width), role: 'img', 'aria-label': t('look.pad') })
  const ink = canvas.getContext('2d', { willReadFrequently: true })
  Object.assign(ink, { lineWidth: SIDE / (digits ? 13 : 18), lineCap: 'round', lineJoin: 'round', strokeStyle: '#fff' })
  let from = null
  let asked = false

  function clear() {
    ink.fillStyle = '#000'
    ink.fillRect(0, 0, canvas.width, canvas.height)
  }

  function place(event) {
    const box = canvas.getBoundingClientRect()
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height]
  }

  function line(to) {
    ink.beginPath()
    ink.moveTo(...from)
    ink.lineTo(...to)
    ink.stroke()
    from = to
    if (asked) return
    asked = true
    requestAnimationFrame(() => { asked = false; give() })
  }

  const give = () => drawn(reduced(canvas, ink, height, width, digits))
  canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId)
    from = place(event)
    line(from)
    event.preventDefault()
  }
  canvas.onpointermove = event => { if (from) line(place(event)) }
  canvas.onpointerup = canvas.onpointercancel = () => { from = null }
  clear()
  return h('div', { class: 'padded' }, canvas, h('p', { class: 'hint' }, t('look.pad')), button(t('look.clear'), () => { clear(); give() }))
}

// The drawing as height×width grey bytes
function reduced(canvas, ink, height, width, digits) {
  const small = document.createElement('canvas')
  Object.assign(small, { width, height })
  const to = small.getContext('2d', { willReadFrequently: true })
  to.imageSmoothingQuality = 'high'
  to.fillRect(0, 0, width, height)
  const box = digits ? bounds(ink.getImageData(0, 0, canvas.width, canvas.height)) : null
  if (box) {
    const scale = (20 * Math.min(height, width)) / 28 / Math.max(box.width, box.height)
    const centre = { x: (box.massX - box.left) * scale, y: (box.massY - box.top) * scale }
    to.drawImage(canvas, box.left, box.top, box.width, box.height, width / 2 - centre.x, height / 2 - centre.y, box.width * scale, box.height * scale)
  } else {
    to.drawImage(canvas, 0, 0, width, height)
  }
  const { data } = to.getImageData(0, 0, width, height)
  return Uint8Array.from({ length: height * width }, (_, i) => data[4 * i])
}

// The box around the strokes and their centre of mass; null if nothing is drawn
function bounds({ data, width, height }) {
  let [left, right, top, bottom, mass, x, y] = [width, -1, height, -1, 0, 0, 0]
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const value = data[4 * (row * width + column)]
      if (!value) continue
      left = Math.min(left, column); right = Math.max(right, column)
      top = Math.min(top, row); bottom = Math.max(bottom, row)
      mass += value; x += value * (column + 0.5); y += value * (row + 0.5)
    }
  }
  return mass ? { left, top, width: right - left + 1, height: bottom - top + 1, massX: x / mass, massY: y / mass } : null
}
