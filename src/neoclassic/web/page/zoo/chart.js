// Cost against accuracy: multiply-accumulates of one image, on a logarithmic scale, and top-1 accuracy on ImageNet.
import { fromHash, h, s } from '../dom.js'
import { count, percent, t } from '../i18n.js'

const BOX = { left: 46, right: 14, top: 28, bottom: 42 }

export function chart(networks) {
  const holder = h('div', { class: 'chart' })
  const paint = () => {
    const width = Math.max(300, holder.clientWidth || 900)
    holder.replaceChildren(drawn(networks, width, Math.round(Math.min(460, 240 + width / 5))))
  }
  new ResizeObserver(paint).observe(holder)
  return holder
}

function drawn(networks, width, height) {
  const macs = networks.map(one => Math.log10(one.macs))
  const rates = networks.map(one => one.accuracy)
  const [low, high] = [Math.floor(Math.min(...macs) * 2) / 2, Math.ceil(Math.max(...macs) * 2) / 2]
  const [worst, best] = [Math.floor(Math.min(...rates) * 20) / 20, Math.ceil(Math.max(...rates) * 20) / 20]
  const x = v => BOX.left + ((Math.log10(v) - low) / (high - low)) * (width - BOX.left - BOX.right)
  const y = v => height - BOX.bottom - ((v - worst) / (best - worst)) * (height - BOX.top - BOX.bottom)
  const axes = []
  for (let power = Math.ceil(low); power <= high; power++) {
    axes.push(s('line', { class: 'grid', x1: x(10 ** power), x2: x(10 ** power), y1: BOX.top, y2: height - BOX.bottom }))
    axes.push(s('text', { x: x(10 ** power), y: height - BOX.bottom + 16, 'text-anchor': 'middle' }, tick(10 ** power)))
  }
  for (let rate = worst; rate <= best + 1e-9; rate += 0.05) {
    axes.push(s('line', { class: 'grid', x1: BOX.left, x2: width - BOX.right, y1: y(rate), y2: y(rate) }))
    axes.push(s('text', { x: BOX.left - 6, y: y(rate) + 4, 'text-anchor': 'end' }, `${Math.round(100 * rate)} %`))
  }
  axes.push(s('text', { x: width - BOX.right, y: height - 8, 'text-anchor': 'end' }, t('zoo.axis.macs')))
  axes.push(s('text', { x: 4, y: 14 }, t('zoo.axis.accuracy')))
  const taken = networks.map(one => around(x(one.macs), y(one.accuracy), one.name))
  const points = [...networks].sort((a, b) => b.accuracy - a.accuracy).map(one => point(one, x(one.macs), y(one.accuracy), width, taken))
  return s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': t('zoo.cost') }, axes, points)
}

const around = (cx, cy, name) => ({ left: cx - 6, right: cx + 6, top: cy - 6, bottom: cy + 6, name })
const tick = n => (n >= 1e9 ? `${n / 1e9} G` : `${n / 1e6} M`)

// A link; its name is written beside it where there is room, and always when it is pointed at or focused.
function point(one, cx, cy, width, taken) {
  const size = 6.6 * one.name.length
  const sides = [{ left: cx - 6, right: cx + 10 + size }, { left: cx - 10 - size, right: cx + 6 }]
  const boxes = sides.map(side => ({ ...side, top: cy - 8, bottom: cy + 8 })).filter(box => box.left > 0 && box.right < width)
  const apart = (a, b) => a.right < b.left || a.left > b.right || a.bottom < b.top || a.top > b.bottom
  const free = boxes.find(box => taken.every(other => other.name === one.name || apart(box, other)))
  if (free) taken.push(free)
  const before = (free ?? boxes[0]).right < cx + 10
  const about = `${one.name}, ${one.year}: ${count(one.macs)} MACs, ${percent(one.accuracy)}`
  return s('a', { href: fromHash('zoo', one.name), class: free ? 'point' : 'point crowded', 'aria-label': about },
    s('title', {}, about), s('circle', { cx, cy, r: 6 }),
    s('text', { x: before ? cx - 10 : cx + 10, y: cy + 4, 'text-anchor': before ? 'end' : 'start' }, one.name))
}
