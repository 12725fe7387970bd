// The zoo: all networks by year and by cost and accuracy, one network, or two side by side.
import { getJson } from '../api.js'
import { emphasised, fromHash, h, table } from '../dom.js'
import { count, percent, shape, t, told } from '../i18n.js'
import { chart } from '../zoo/chart.js'
import { network } from '../zoo/network.js'

export async function show(main, [name, word, second], session) {
  const all = await getJson('lab/zoo')
  if (!name) return overview(main, all)
  const names = all.map(one => one.name)
  main.append(
    h('p', { class: 'back' }, h('a', { href: '#/zoo' }, t('zoo.back'))),
    h('h1', {}, second ? `${name} · ${second}` : name),
  )
  if (word !== 'with' || !second) return void main.append(await network(name, names, session))
  const difference = h('section', { class: 'card' })
  const pair = h('div', { class: 'pair' })
  main.append(difference, pair)
  pair.append(...(await Promise.all([network(name, names, session, second), network(second, names, session, name)])))
  difference.append(...(await compared(name, second)))
}

async function compared(first, second) {
  const { rows, notes } = await getJson('lab/diff', { first, second })
  const words = { missing: t('zoo.missing'), added: t('zoo.added'), changed: t('zoo.changed') }
  const cells = rows.map(([kind, path, what, parameters, macs]) => {
    const last = kind === '' && path === 'in all, at inference'
    return [words[kind] ?? '', last ? t('zoo.in_all') : path, what, parameters, macs]
  })
  return [
    h('h2', {}, t('zoo.difference')),
    h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': t('zoo.difference') },
      table([t('zoo.change'), t('zoo.path'), t('zoo.what'), t('zoo.parameters'), 'MACs'], cells, 3)),
    ...notes.map(noted),
  ]
}

// NAME: REASON
function noted(note) {
  const [name] = note.split(': ', 1)
  return h('p', {}, `${name}: `, ...emphasised(told(note.slice(name.length + 2))))
}

function overview(main, all) {
  const years = Map.groupBy ? Map.groupBy(all, one => one.year) : grouped(all)
  const rated = all.filter(one => one.accuracy)
  main.append(
    h('h1', {}, t('zoo.heading')),
    h('p', { class: 'lead' }, t('zoo.lead', { n: all.length })),
    h('section', { class: 'card' }, h('h2', {}, t('zoo.cost')), h('p', {}, t('zoo.cost.about')), chart(rated)),
    h('h2', {}, t('zoo.years')),
    h('div', { class: 'years' }, [...years].map(([year, some]) => section(year, some))),
  )
}

function grouped(all) {
  const years = new Map()
  for (const one of all) years.set(one.year, [...(years.get(one.year) ?? []), one])
  return years
}

function section(year, some) {
  return h('section', { class: 'year' }, h('h3', {}, year || t('zoo.own')), h('ul', { class: 'tiles' }, some.map(tile)))
}

function tile(one) {
  const facts = [shape(one.input), `${count(one.parameters)} ${t('zoo.parameters')}`, `${count(one.macs)} MACs`]
  if (one.accuracy) facts.push(percent(one.accuracy))
  return h('li', {}, h('a', { href: fromHash('zoo', one.name) },
    h('b', {}, one.name), h('span', { class: 'about' }, told(one.about)), h('span', { class: 'facts' }, facts.join(' · '))))
}
