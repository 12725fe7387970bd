// How a program uses the server.
import { getJson } from '../api.js'
import { h, table } from '../dom.js'
import { t } from '../i18n.js'

export async function show(main) {
  const api = await getJson('openapi.json')
  const rows = Object.entries(api.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, about]) => [h('code', {}, `${verb.toUpperCase()} ${path}`), h('div', {}, about.summary, details(about))]))
  // inside double quotes no shell changes these URLs
  const address = location.origin
  const example = `curl "${address}/predict" --data-binary "@photo.jpg"\n` +
    `curl "${address}/predict?top=3" -F "image=@one.jpg" -F "image=@two.png"`
  main.append(
    h('h1', {}, t('http.heading')),
    h('p', { class: 'lead' }, t('http.lead')),
    h('pre', { id: 'example', tabindex: 0 }, example),
    h('div', { id: 'paths' }, table([t('http.path'), t('http.about')], rows)),
    h('p', {}, t('http.openapi'), h('a', { href: 'openapi.json' }, '/openapi.json')),
  )
}

const details = about => [
  ...(about.parameters ?? []).map(one => h('div', {}, `?${one.name}= (${t('http.default')} ${one.schema.default})`)),
  ...Object.entries(about.responses).map(([status, one]) => h('div', {}, `${status}: ${one.description}`)),
]
