// The classes with their photos: by camera, drop, paste or file. The server keeps the photos, the page shows them small.
import { postBinary, postJson } from '../api.js'
import { fromPixels } from '../colours.js'
import { button, h, replace } from '../dom.js'
import { t } from '../i18n.js'

const SIDE = 64 // pixels of a small photo, as the server sends it
const EVERY = 200 // milliseconds between pictures while the button is held
const nothing = new Uint8Array()

export function classes(names, camera, told) {
  const cards = []
  const holder = h('div', { class: 'classes' })
  const add = button(t('teach.add'), () => { card(free()).name.focus() }, { id: 'add-class' })
  const element = h('section', {}, h('h2', {}, t('teach.photos')), h('p', { class: 'hint' }, t('teach.photos.about')), camera.element, holder, add)
  const free = () => {
    let n = cards.length + 1
    while (cards.some(one => one.label === t('teach.class', { n }))) n++
    return t('teach.class', { n })
  }

  function card(label) {
    const name = h('input', { type: 'text', maxlength: 60, value: label, 'aria-label': t('teach.name'), onchange: rename })
    const many = h('span', { class: 'hint' })
    const strip = h('div', { class: 'thumbs' })
    const files = h('input', { type: 'file', accept: 'image/*,.heic,.heif', multiple: true, class: 'hidden', tabindex: -1, 'aria-label': t('teach.files_for', { label }), onchange: () => { send([...files.files]); files.value = '' } })
    const one = { label, name, photos: [], show, count }
    const box = h('section', { class: 'card class', 'data-class': label },
      h('div', { class: 'bar' }, name, many, button('×', remove, { class: 'close', 'aria-label': t('teach.remove_class', { label }) })),
      h('div', { class: 'bar' },
        button(t('look.file'), () => files.click()), files,
        camera.possible ? shutter() : null),
      strip)
    one.box = box
    box.addEventListener('dragover', event => { event.preventDefault(); box.classList.add('over') })
    box.addEventListener('dragleave', () => box.classList.remove('over'))
    box.addEventListener('drop', event => { event.preventDefault(); box.classList.remove('over'); send([...event.dataTransfer.files]) })

    function shutter() {
      let timer = null
      const stop = () => { clearInterval(timer); timer = null }
      let busy = false
      const shoot = async () => {
        if (busy) return
        busy = true
        const blob = await camera.shoot()
        if (blob) await send([blob])
        busy = false
      }
      const start = () => { stop(); timer = setInterval(shoot, EVERY) }
      return button(t('teach.shoot'), shoot, { class: 'shoot', onpointerdown: start, onpointerup: stop, onpointerleave: stop, onpointercancel: stop })
    }
    async function send(blobs) {
      told('')
      for (const blob of blobs) {
        try {
          const { header, take } = await postBinary('lab/teach/photo', { class: one.label }, blob)
          if (!one.photos.includes(header.photo)) show(header.photo, take(SIDE * SIDE * 3))
        } catch (error) {
          told(blob.name ? error.message.replace(/^photo: /, `${blob.name}: `) : error.message)
        }
      }
    }
    function show(photo, pixels) {
      const canvas = fromPixels(pixels, SIDE, SIDE)
      const thumb = button(canvas, () => forget([photo]), { class: 'thumb', title: t('teach.remove_photo', { photo }), 'aria-label': t('teach.remove_photo', { photo }), 'data-photo': photo })
      one.photos.push(photo)
      strip.append(thumb)
      count()
    }
    async function forget(photos) {
      try {
        if (photos.length) await postJson('lab/teach/remove', { photos: photos.join(',') }, nothing)
        one.photos = one.photos.filter(photo => !photos.includes(photo))
        photos.forEach(photo => strip.querySelector(`[data-photo='${photo}']`)?.remove())
        count()
      } catch (error) { told(error.message) }
    }
    async function remove() {
      await forget(one.photos)
      cards.splice(cards.indexOf(one), 1)
      box.remove()
      add.focus()
    }
    async function rename() {
      const to = name.value.trim().replace(/\s+/g, ' ')
      if (!to || cards.some(other => other !== one && other.label === to)) {
        told(t('teach.taken'))
        name.value = one.label
        return
      }
      try {
        if (one.photos.length) await postJson('lab/teach/rename', { from: one.label, to }, nothing)
        one.label = name.value = box.dataset.class = to
      } catch (error) {
        told(error.message)
        name.value = one.label
      }
    }
    function count() {
      many.textContent = t('teach.count', { n: one.photos.length })
      box.dataset.count = one.photos.length
    }
    cards.push(one)
    holder.append(box)
    count()
    return one
  }

  const label = n => t('teach.class', { n })
  for (const one of names.length ? names : [label(1), label(2)]) card(one)
  const pasted = event => {
    const images = [...event.clipboardData.files].filter(file => file.type.startsWith('image/'))
    const focused = cards.find(one => one.box.contains(document.activeElement)) ?? cards.at(-1)
    if (images.length && focused) focused.box.dispatchEvent(new DragEvent('drop', { dataTransfer: event.clipboardData }))
  }
  document.addEventListener('paste', pasted)
  return {
    element,
    show: (name, photo, pixels) => (cards.find(one => one.label === name) ?? card(name)).show(photo, pixels),
    names: () => cards.map(one => one.label),
    end: () => document.removeEventListener('paste', pasted),
  }
}
