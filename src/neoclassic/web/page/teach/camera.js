// The camera of the view, for pictures and for live answers.
import { button, h } from '../dom.js'
import { t } from '../i18n.js'

export function camera(told) {
  const video = h('video', { playsinline: true, muted: true, hidden: true, 'aria-label': t('look.camera') })
  const toggle = button(t('look.camera'), () => (stream ? end() : begin()), { id: 'camera', 'aria-pressed': 'false' })
  const possible = Boolean(navigator.mediaDevices)
  let stream = null
  let watch = () => {}

  async function begin() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, facingMode: 'environment' } })
      video.srcObject = stream
      video.hidden = false
      toggle.setAttribute('aria-pressed', 'true')
      await video.play()
      watch()
    } catch {
      end()
      told(t('look.no_camera'))
    }
  }
  function end() {
    stream?.getTracks().forEach(track => track.stop())
    stream = null
    video.srcObject = null
    video.hidden = true
    toggle.setAttribute('aria-pressed', 'false')
  }
  // What the camera sees now as a JPEG file; it is switched on first. Null without a camera.
  async function shoot() {
    if (!stream) await begin()
    if (!stream || !video.videoWidth) return null
    const still = document.createElement('canvas')
    Object.assign(still, { width: video.videoWidth, height: video.videoHeight })
    still.getContext('2d').drawImage(video, 0, 0)
    return new Promise(done => still.toBlob(done, 'image/jpeg', 0.92))
  }
  return {
    possible, shoot, end,
    element: h('div', { class: 'stage' }, possible ? toggle : null, video),
    isOn: () => Boolean(stream && video.videoWidth),
    started: listener => { watch = listener },
  }
}
