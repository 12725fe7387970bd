// Loss and accuracy over the steps: lines of the training images, measured between steps, and points of those held out.
import { h, replace, s, table } from '../dom.js'
import { number, percent, t } from '../i18n.js'

const BOX = { left: 44, right: 12, top: 10, bottom: 34 }
const HEIGHT = 220

export function curves() {
  const charts = ['loss', 'accuracy'].map(what => ({ what, holder: h('div', { class: 'chart curve', 'data-curve': what }) }))
  const rows = h('div')
  let points = []
  let news = { log: [] }

  function paint() {
    for (const { what, holder } of charts) replace(holder, drawn(what, points, news, Math.max(260, holder.clientWidth)))
  }

  function show(given) {
    points = given.from ? points.slice(0, given.from).concat(given.points) : given.points
    const epochs = given.log.length !== news.log.length || given.phase !== news.phase
    const more = epochs || given.points.length || given.era !== news.era
    news = given
    if (more) paint()
    if (epochs) replace(rows, given.log.length ? epochTable(given.log) : [])
  }

  const observer = new ResizeObserver(paint)
  charts.forEach(one => observer.observe(one.holder))
  const legend = h('p', { class: 'legend' }, h('span', { class: 'of-train' }, t('train.line.train')), ' ', h('span', { class: 'of-held' }, t('train.line.validation')))
  const halves = charts.map(({ what, holder }) => h('section', {}, h('h2', {}, t(`train.${what}`)), holder))
  const element = h('div', {}, h('div', { class: 'pair curves' }, halves), legend, rows)
  return { element, show, repaint: paint, end: () => observer.disconnect() }
}

const held = (row, what) => row[`validation_${what}`] ?? row[`test_${what}`]

function drawn(what, points, news, width) {
  const column = what === 'loss' ? 1 : 2
  const perEpoch = news.per_epoch ?? 1
  const trained = points.length ? points.map(point => [point[0], point[column]]) : news.log.map(row => [row.epoch * perEpoch, row[`train_${what}`]])
  const tested = news.log.map(row => [row.epoch * perEpoch, held(row, what)])
  const values = [...trained, ...tested].map(([, v]) => v).filter(Number.isFinite)
  const most = what === 'accuracy' ? 1 : Math.max(0.1, ...values)
  const last = Math.max(1, ...trained.map(([step]) => step), ...tested.map(([step]) => step))
  const x = step => BOX.left + (step / last) * (width - BOX.left - BOX.right)
  const y = v => HEIGHT - BOX.bottom - (v / most) * (HEIGHT - BOX.top - BOX.bottom)
  const line = all => all.filter(([, v]) => Number.isFinite(v)).map(([step, v]) => `${x(step).toFixed(1)},${y(v).toFixed(1)}`).join(' ')
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(share => share * most)
  const latest = trained.at(-1)?.[1]
  const about = `${t(`train.${what}`)}: ${latest === undefined ? '' : number(latest, 3)}`
  return s('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': about },
    ticks.map(v => [
      s('line', { class: 'grid', x1: BOX.left, x2: width - BOX.right, y1: y(v), y2: y(v) }),
      s('text', { x: BOX.left - 6, y: y(v) + 4, 'text-anchor': 'end' }, what === 'loss' ? number(v, 2) : `${100 * v}`),
    ]).flat(),
    s('text', { x: width - BOX.right, y: HEIGHT - 8, 'text-anchor': 'end' }, `${t('train.axis')} ${last.toLocaleString('en')}`),
    s('polyline', { class: 'of-train', points: line(trained), 'data-points': trained.length }),
    s('polyline', { class: 'of-held', points: line(tested) }),
    tested.filter(([, v]) => Number.isFinite(v)).map(([step, v]) => s('circle', { class: 'of-held', cx: x(step), cy: y(v), r: 3.5 })))
}

function epochTable(log) {
  const head = ['epoch', 'rate', 'loss', 'accuracy', 'held_loss', 'held_accuracy'].map(name => t(`train.column.${name}`))
  const cells = log.map(row => [`${row.epoch}`, number(row.learning_rate, 3), number(row.train_loss), percent(row.train_accuracy),
    number(held(row, 'loss')), percent(held(row, 'accuracy'))]).reverse()
  return h('div', { class: 'wide epochs', tabindex: 0, role: 'region', 'aria-label': t('train.epochs_table') }, table(head, cells, 1))
}
