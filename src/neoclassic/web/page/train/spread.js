// A small histogram, with the standard deviation beside it.
import { h, s } from '../dom.js'
import { number, t } from '../i18n.js'

const BAR = 4
const HEIGHT = 26

export function histogram(spread, kind) {
  const most = Math.max(1, ...spread.counts)
  const bars = spread.counts.map((count, i) => {
    const tall = count ? Math.max(1, (count / most) ** 0.5 * HEIGHT) : 0 // of the root, so that rare values are seen
    return s('rect', { x: i * BAR, y: HEIGHT - tall, width: BAR - 1, height: tall })
  })
  const width = spread.counts.length * BAR
  const about = t('train.histogram', { most: number(spread.most, 2), mean: number(spread.mean, 2) })
  return h('span', { class: 'spread' },
    s('svg', { class: kind, width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': about }, s('title', {}, about), bars),
    h('span', { class: 'most' }, number(spread.deviation, 2)))
}
