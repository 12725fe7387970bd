// What can be done to a training, and its figures.
import { button, choice, field, h, replace } from '../dom.js'
import { number, percent, t } from '../i18n.js'

const RESTS = ['0', '0.1', '0.5', '2']

export function controls(steer) {
  const acts = ['pause', 'go', 'step', 'epoch', 'stop']
  const buttons = Object.fromEntries(acts.map(act => [act, button(t(`train.${act}`), () => steer({ act }), { id: act })]))
  const rate = h('input', { id: 'rate', type: 'number', min: 0, step: 'any' })
  rate.onchange = () => steer({ rate: rate.value })
  const times = factor => () => steer({ rate: now * factor })
  const rest = choice(RESTS.map(s => [s, t(`train.speed.${s}`)]), '0', delay => steer({ delay }), { id: 'speed' })
  const phase = h('p', { class: 'phase', role: 'status' })
  const notes = h('div', { class: 'hint' })
  const figures = h('dl', { class: 'cards' })
  const bar = h('div', { class: 'controls steering' }, Object.values(buttons),
    field(t('train.rate_now'), rate), button(t('train.lower'), times(0.5), { id: 'lower' }), button(t('train.higher'), times(2), { id: 'higher' }),
    field(t('train.speed'), rest))
  let now = 0

  function show(news) {
    const active = ['running', 'resting'].includes(news.phase)
    const resting = news.phase === 'resting'
    bar.hidden = !active
    buttons.pause.disabled = resting
    for (const act of ['go', 'step', 'epoch']) buttons[act].disabled = !resting
    now = news.learning_rate ?? 0
    if (document.activeElement !== rate) rate.value = Number(now.toPrecision(4))
    const said = t(`train.phase.${news.phase}`)
    if (phase.textContent !== said) phase.textContent = said // a screen reader says it once
    replace(notes, [...(news.notes ?? []), ...(news.warnings ?? [])].map(line => h('p', {}, line)),
      news.message ? h('p', { class: news.phase === 'failed' ? 'error' : null }, news.message) : null)
    replace(figures, facts(news).map(([value, about]) => h('div', {}, h('dt', {}, about), h('dd', {}, value))))
  }

  return { element: h('div', { class: 'card' }, figures, phase, notes, bar), show }
}

function facts(news) {
  const found = [[news.network, t('train.network')], [news.data, t('train.of_data')]]
  if (news.step !== undefined && news.last_step) found.push([`${news.step.toLocaleString('en')} / ${news.last_step.toLocaleString('en')}`, t('train.steps')])
  if (news.epochs) found.push([`${Math.min(news.log.length + 1, news.epochs)} / ${news.epochs}`, t('train.of_epochs')])
  if (news.learning_rate !== undefined) found.push([number(news.learning_rate, 3), t('train.learning_rate')])
  if (news.images_per_second) found.push([Math.round(news.images_per_second).toLocaleString('en'), t('train.images')])
  if (news.test_accuracy !== undefined) found.push([percent(news.test_accuracy), t('train.test')])
  if (news.run) found.push([news.run, t('train.run')])
  return found
}
