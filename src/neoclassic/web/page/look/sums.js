// The arithmetic of one unit, as the server computed it: patches times kernels, the formula, and the layers after it.
import { cssColour } from '../colours.js'
import { h, table } from '../dom.js'
import { number, t } from '../i18n.js'

const OPEN = 3 // terms that are shown at once, unless the caller says how many
const LARGEST = 7 // side of a patch that is shown with its numbers

export function sums(found, open = OPEN) {
  const { terms, others } = found
  const wide = terms.length > 0 && terms[0].patch.length * terms[0].patch[0].length > 1
  const shown = wide ? windows(terms, open) : points(terms)
  const rest = others.n ? h('p', { class: 'hint' }, t('look.others', { n: others.n.toLocaleString('en'), sum: number(others.sum, 5) })) : null
  const then = found.then.map(step => h('li', {}, h('b', {}, step.path), ' ', h('span', { class: 'formula' }, step.formula)))
  const difference = Math.abs(found.result - found.value)
  return [
    h('h5', {}, t('look.arithmetic', { unit: found.unit.join(', ') })),
    ...shown, rest,
    h('p', { class: 'formula', id: 'formula' }, found.formula),
    h('p', { class: 'hint' }, t('look.engine', { value: number(found.value, 7), difference: difference.toExponential(1) })),
    then.length ? h('ol', { class: 'then', 'aria-label': t('look.then') }, then) : null,
  ].filter(Boolean)
}

function windows(terms, open) {
  const strongest = [...terms].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum))
  const first = strongest.slice(0, open).sort((a, b) => a.channel - b.channel).map(line)
  const more = strongest.slice(open).sort((a, b) => a.channel - b.channel)
  if (!more.length) return first
  const details = h('details', {}, h('summary', {}, t('look.more', { n: more.length })))
  details.addEventListener('toggle', () => { if (details.childElementCount === 1) details.append(...more.map(line)) }, { once: true })
  return [...first, details]
}

function line(term) {
  const grids = term.kernel ? [grid(term.patch), h('span', {}, '·'), grid(term.kernel)] : [grid(term.patch)]
  return h('div', { class: 'term' }, h('span', { class: 'channel' }, t('look.channel', { channel: term.channel })), grids, h('span', { class: 'n' }, `= ${number(term.sum, 5)}`))
}

function grid(values) {
  const most = Math.max(...values.flat().map(v => Math.abs(v ?? 0))) || 1
  const written = values.length <= LARGEST
  const cell = v => {
    const made = h('td', {}, written ? number(v, 2) : '')
    if (v !== null) {
      made.style.background = cssColour(v / most)
      made.style.color = contrast(made.style.background)
    }
    return made
  }
  return h('table', { class: written ? 'grid' : 'grid small' }, h('tbody', {}, values.map(row => h('tr', {}, row.map(cell)))))
}

// Black or white, whichever differs more from a colour (WCAG 2.2, relative luminance)
export function contrast(colour) {
  const [r, g, b] = colour.match(/\d+/g).map(v => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4))
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff'
}

// Terms that are single numbers: x, w and their product
function points(terms) {
  if (!terms.length) return []
  const rows = terms.map(term => [String(term.channel), number(term.patch[0][0], 5), term.kernel ? number(term.kernel[0][0], 5) : '', number(term.sum, 5)])
  return [h('div', { class: 'wide points', tabindex: 0, role: 'region', 'aria-label': t('look.terms') }, table([t('look.index'), 'x', 'w', 'Σ'], rows, 1))]
}
