// An image through one model, or through two side by side: the answer, and the feature maps of every layer.
import { getJson } from '../api.js'
import { choice, field, fromHash, h, replace } from '../dom.js'
import { t } from '../i18n.js'
import { column } from '../look/column.js'
import { sources } from '../look/sources.js'

let last = null // what was looked at, so that another language or model shows it again

export async function show(main, [name, word, second], session) {
  const first = session.models.includes(name) ? name : session.models[0]
  const names = [first, ...(word === 'with' && session.models.includes(second) ? [second] : [])]
  main.append(h('h1', {}, t('look.heading')))
  if (session.models.length > 1) main.append(chosen(names, session.models))
  const models = await Promise.all(names.map(model => getJson('lab/model', { model })))
  const columns = models.map(model => column(model))
  const message = h('p', { role: 'alert', class: 'error' })

  async function look(source) {
    last = source
    const done = await Promise.allSettled(columns.map(one => one.look(source)))
    const failed = done.find(one => one.status === 'rejected')
    message.textContent = failed ? failed.reason.message.replace(/^image: /, source.name ? `${source.name}: ` : '') : ''
  }

  const taken = sources(models, look)
  const shown = h('div', { class: names.length > 1 ? 'pair' : 'single' }, columns.map(one => one.element))
  main.append(h('div', { class: names.length > 1 ? 'looking' : 'looking one' }, h('div', { class: 'sources' }, taken.element, message), shown))
  const repaint = () => columns.forEach(one => one.repaint())
  addEventListener('themechange', repaint)
  if (last) look(last)
  else taken.begin()
  return () => {
    removeEventListener('themechange', repaint)
    taken.end()
    columns.forEach(one => one.end())
  }
}

function chosen(names, all) {
  const go = (first, second) => { location.hash = second ? fromHash('look', first, 'with', second) : fromHash('look', first) }
  const others = [['', t('look.alone')], ...all.filter(name => name !== names[0]).map(name => [name, name])]
  return replace(h('div', { class: 'controls' }),
    field(t('look.model'), choice(all.map(name => [name, name]), names[0], first => go(first, first === names[1] ? '' : names[1]))),
    field(t('look.second'), choice(others, names[1] ?? '', second => go(names[0], second))))
}
