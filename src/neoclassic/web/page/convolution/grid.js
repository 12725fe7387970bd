// A channel as a grid of numbers: of fields that can be edited, or of buttons that can be chosen.
//
// The arrow keys move between its cells, and Tab leaves it. `onedit(index, value)` makes it a grid of fields,
// `onchoose(index)` one of buttons. Padding is shown around it as zeros that cannot be edited.
import { cssColour } from '../colours.js'
import { h } from '../dom.js'
import { number, t } from '../i18n.js'
import { contrast } from '../look/sums.js'

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }

export function grid({ height, width, padding = 0, label, onedit, onchoose }) {
  const cells = new Map() // 'row,column', with padding, → td
  const controls = []
  const make = (row, column) => {
    const inside = row >= 0 && row < height && column >= 0 && column < width
    const td = h('td', { class: inside ? null : 'padding' }, inside ? control(row, column) : '0')
    cells.set(`${row},${column}`, td)
    return td
  }
  function control(row, column) {
    const index = row * width + column
    const name = t('convolution.cell', { name: label, row, column })
    const made = onedit
      ? h('input', { type: 'text', inputmode: 'decimal', 'aria-label': name, onfocus: () => made.select(), onchange: () => edited(made, index) })
      : h('button', { type: 'button', 'aria-label': name, onclick: () => onchoose(index) })
    made.tabIndex = index ? -1 : 0
    controls.push(made)
    return made
  }
  function edited(made, index) {
    const value = Number(made.value.replace('−', '-').replace(',', '.'))
    if (made.value.trim() && Number.isFinite(Math.fround(value))) onedit(index, value)
    else onedit(index, Number(made.dataset.value))
  }
  function move(event) {
    const at = controls.indexOf(event.target)
    if (!MOVES[event.key] || at < 0) return
    event.preventDefault()
    const row = Math.floor(at / width) + MOVES[event.key][0]
    const column = (at % width) + MOVES[event.key][1]
    if (row >= 0 && row < height && column >= 0 && column < width) controls[row * width + column].focus()
  }

  const rows = Array.from({ length: height + 2 * padding }, (_, r) =>
    h('tr', {}, Array.from({ length: width + 2 * padding }, (_, c) => make(r - padding, c - padding))))
  const element = h('figure', { class: 'channel-grid' },
    h('figcaption', {}, label),
    h('table', { class: 'grid numbers', onkeydown: move }, h('tbody', {}, rows)))

  return {
    element,
    // Values from −most to most
    fill(values, most) {
      controls.forEach((made, i) => {
        const v = values[i]
        made.dataset.value = v
        if (onedit) made.value = number(v, 3)
        else { made.textContent = number(v, 4); made.setAttribute('aria-label', `${t('convolution.cell', { name: label, row: Math.floor(i / width), column: i % width })}: ${number(v, 4)}`) }
        made.parentElement.style.background = cssColour(most ? v / most : 0)
        made.style.color = contrast(made.parentElement.style.background)
      })
    },
    // Frame the cells of a window, or none
    frame(top, left, side) {
      for (const [place, td] of cells) {
        const [row, column] = place.split(',').map(Number)
        td.classList.toggle('framed', side > 0 && row >= top && row < top + side && column >= left && column < left + side)
      }
    },
    dim: on => element.classList.toggle('dim', on),
  }
}
