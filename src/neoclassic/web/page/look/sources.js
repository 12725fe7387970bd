// Where an image comes from: drawn, dropped, pasted, a file, the camera, or the test images of the data set.
//
// A source is { blob, name } for an image file of any kind, or { pixels, height, width, label } for grey pixels that are
// a model's input as they are.
import { getBinary } from '../api.js'
import { button, h, replace } from '../dom.js'
import { t } from '../i18n.js'
import { pad } from './pad.js'

export function sources(models, look) {
  const [model] = models
  const [channels, height, width] = model.input
  const note = h('p', { class: 'hint', 'aria-live': 'polite' }, t('look.drop'))
  const stage = h('div', { class: 'stage' })
  const strip = h('div', { class: 'strip' })
  const files = h('input', { id: 'files', type: 'file', accept: 'image/*,.heic,.heif', multiple: true, class: 'hidden', tabindex: -1, 'aria-label': t('look.file') })
  let release = () => {}

  function open(blobs) {
    const images = [...blobs]
    if (!images.length) return
    clear()
    replace(strip, images.length > 1 ? images.map(file => button(file.name, () => look({ blob: file, name: file.name }))) : [])
    look({ blob: images[0], name: images[0].name })
  }

  function clear() {
    release()
    release = () => {}
    replace(stage)
    replace(strip)
  }

  function draw() {
    clear()
    const drawn = pad(height, width, model.data === 'mnist', pixels => look({ pixels, height, width }))
    replace(stage, drawn)
  }

  let index = Math.floor(Math.random() * 10000)
  async function sample() {
    clear()
    try {
      const { header, take } = await getBinary('lab/sample', { model: model.name, index: index++ })
      const pixels = take(header.height * header.width * channels)
      note.textContent = t('look.label', { label: header.label })
      look({ pixels, height: header.height, width: header.width, label: header.label })
    } catch (error) {
      note.textContent = error.message
    }
  }

  async function camera() {
    clear()
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, facingMode: 'environment' } })
      const video = h('video', { playsinline: true, muted: true, 'aria-label': t('look.camera') })
      video.srcObject = stream
      release = () => stream.getTracks().forEach(track => track.stop())
      replace(stage, video, button(t('look.shoot'), () => shoot(video)))
      await video.play()
    } catch {
      note.textContent = t('look.no_camera')
    }
  }

  function shoot(video) {
    const still = document.createElement('canvas')
    Object.assign(still, { width: video.videoWidth, height: video.videoHeight })
    still.getContext('2d').drawImage(video, 0, 0)
    still.toBlob(blob => look({ blob, name: t('look.camera') }), 'image/png')
  }

  const pasted = event => open([...event.clipboardData.files].filter(file => file.type.startsWith('image/')))
  const over = event => { event.preventDefault(); document.body.classList.add('dropping') }
  const left = event => { if (!event.relatedTarget) document.body.classList.remove('dropping') }
  const dropped = event => { event.preventDefault(); document.body.classList.remove('dropping'); open(event.dataTransfer.files) }
  const events = { paste: pasted, dragover: over, dragleave: left, drop: dropped }
  for (const [name, listener] of Object.entries(events)) document.addEventListener(name, listener)
  files.onchange = () => { open(files.files); files.value = '' }

  const drawable = channels === 1 && Math.max(height, width) <= 64
  const bar = h('div', { class: 'bar' },
    drawable ? button(t('look.draw'), draw) : null,
    button(t('look.file'), () => files.click()), files,
    navigator.mediaDevices ? button(t('look.camera'), camera) : null,
    model.samples ? button(t('look.sample'), sample, { id: 'sample' }) : null)
  return {
    element: h('section', { class: 'card' }, bar, note, stage, strip),
    begin: () => { if (drawable) draw() },
    end: () => {
      clear()
      for (const [name, listener] of Object.entries(events)) document.removeEventListener(name, listener)
      document.body.classList.remove('dropping')
    },
  }
}
