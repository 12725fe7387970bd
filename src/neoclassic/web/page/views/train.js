// A network in training: choose one and start it, or follow the one that trains.
import { act, events } from '../api.js'
import { button, fromHash, h } from '../dom.js'
import { t } from '../i18n.js'
import { controls } from '../train/controls.js'
import { curves } from '../train/curves.js'
import { form } from '../train/form.js'
import { inside } from '../train/inside.js'

export async function show(main) {
  const message = h('p', { role: 'alert', class: 'error' })
  const tell = async work => {
    try {
      await work()
      message.textContent = ''
    } catch (error) {
      message.textContent = error.message
    }
  }
  const steer = query => tell(() => act('lab/train/do', query))
  const chosen = await form(knobs => tell(() => act('lab/train/start', knobs)))
  const again = button(t('train.resume'), () => tell(() => act('lab/train/resume')), { id: 'resume' })
  const look = h('a', { id: 'look', class: 'button', hidden: true }, t('train.look'))
  const [steered, drawn, seen] = [controls(steer), curves(), inside(steer)]
  const summary = h('summary', {}, t('train.choose'))
  const choosing = h('details', { class: 'card', open: true, hidden: true }, summary, chosen)
  const running = h('section', { id: 'training', hidden: true }, steered.element, h('p', { class: 'bar' }, again, look), drawn.element, seen.element)
  main.append(h('h1', {}, t('train.heading')), h('p', { class: 'lead' }, t('train.lead')), message, choosing, running)

  let phase = ''
  const heard = news => {
    running.hidden = news.phase === 'idle'
    running.dataset.phase = news.phase
    if (news.phase !== phase) {
      choosing.open = ['idle', 'failed'].includes(news.phase)
      choosing.hidden = ['preparing', 'running', 'resting', 'finishing'].includes(news.phase)
      look.hidden = news.phase !== 'finished'
      look.href = fromHash('look', news.run ?? '')
      again.hidden = news.phase !== 'stopped'
    }
    phase = news.phase
    steered.show(news)
    drawn.show(news)
    seen.show(news)
  }
  const stop = new AbortController()
  events('lab/train/events', heard, () => { message.textContent = t('train.lost') }, stop.signal)
  const repaint = () => { drawn.repaint(); seen.repaint() }
  addEventListener('themechange', repaint)
  return () => {
    stop.abort()
    removeEventListener('themechange', repaint)
    drawn.end()
  }
}
