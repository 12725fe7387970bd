// Show a network your own classes: collect photos, train, try it at once, and take the model or the photos along.
import { getBinary, getBlob, latest, postBinary } from '../api.js'
import { button, fromHash, h, replace } from '../dom.js'
import { percent, t } from '../i18n.js'
import { camera } from '../teach/camera.js'
import { classes } from '../teach/classes.js'
import { training } from '../teach/training.js'

const EVERY = 250 // milliseconds between two live answers
let names = [] // of the classes, so that another language shows those without photos again

export async function show(main, _parameters, session) {
  const { header, take } = await getBinary('lab/teach')
  const message = h('p', { role: 'alert', class: 'error' })
  const told = text => { message.textContent = text }
  const seen = camera(told)
  const present = [...new Set([...names, ...header.photos.map(one => one.class)])]
  const collected = classes(present, seen, told)
  for (const one of header.photos) collected.show(one.class, one.photo, take(64 * 64 * 3))
  const tried = trying(seen, told)
  const trained = training(header, ready, told)
  const zip = button(t('teach.zip'), () => save('lab/teach/zip', 'photos.zip', told), { id: 'zip' })
  main.append(
    h('h1', {}, t('teach.heading')), h('p', { class: 'lead' }, t('teach.lead')), message,
    h('div', { class: 'teaching' }, h('div', {}, collected.element, h('p', {}, zip)), h('div', {}, trained.element, tried.element)))

  function ready(now) {
    if (!session.models.includes(now.model)) session.models = [now.model, ...session.models]
    tried.use(now.model)
  }
  const over = event => event.preventDefault() // a file that misses a class must not replace the page
  for (const name of ['dragover', 'drop']) document.addEventListener(name, over)
  return () => {
    names = collected.names()
    for (const name of ['dragover', 'drop']) document.removeEventListener(name, over)
    for (const one of [seen, collected, trained, tried]) one.end()
  }
}

function trying(seen, told) {
  const answers = h('div', { class: 'answers', 'aria-live': 'polite' })
  const files = h('input', { type: 'file', id: 'try', accept: 'image/*,.heic,.heif', class: 'hidden', tabindex: -1, 'aria-label': t('teach.try'), onchange: () => { ask(files.files[0]); files.value = '' } })
  const links = h('p', { class: 'bar' })
  const element = h('section', { class: 'card', hidden: true },
    h('h2', {}, t('teach.try')),
    h('p', { class: 'hint' }, t('teach.try.about')),
    h('div', { class: 'bar' }, button(t('look.file'), () => files.click()), files), answers, links)
  element.addEventListener('dragover', event => event.preventDefault())
  element.addEventListener('drop', event => { event.preventDefault(); ask(event.dataTransfer.files[0]) })
  let model = null
  let timer = null

  const ask = latest(async blob => {
    if (!blob || !model) return
    try {
      const { header } = await postBinary('lab/look', { model }, blob)
      told('')
      const line = one => {
        const inner = h('i', {})
        inner.style.width = `${100 * one.probability}%`
        return h('li', {}, h('span', {}, one.label), h('span', { class: 'bar-of', 'aria-hidden': true }, inner), h('span', { class: 'n' }, percent(one.probability)))
      }
      const [best] = header.top
      replace(answers, h('p', { class: 'best' }, h('b', {}, best.label), h('span', {}, percent(best.probability))), h('ol', {}, header.top.map(line)))
    } catch (error) { told(error.message) }
  })
  async function live() {
    clearTimeout(timer)
    if (!model || !seen.isOn()) return
    await ask(await seen.shoot())
    timer = setTimeout(live, EVERY)
  }
  seen.started(live)
  return {
    element,
    use(name) {
      model = name
      element.hidden = false
      element.dataset.model = name
      replace(answers)
      replace(links,
        button(t('teach.save'), () => save('lab/teach/model', `${name}.safetensors`, told), { id: 'save' }),
        h('a', { href: fromHash('look', name) }, t('teach.look')))
      live()
    },
    end: () => { model = null; clearTimeout(timer) },
  }
}

// A file of the server's, as a download; a plain link would lack the token
async function save(path, name, told) {
  try {
    const address = URL.createObjectURL(await getBlob(path))
    h('a', { href: address, download: name }).click()
    setTimeout(() => URL.revokeObjectURL(address), 60000)
  } catch (error) { told(error.message) }
}
