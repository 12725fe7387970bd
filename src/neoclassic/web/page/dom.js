// Elements. Children that are strings become text, never markup.
const SVG = 'http://www.w3.org/2000/svg'

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined))
  return element
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children)
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children)
export const replace = (element, ...children) => {
  element.replaceChildren(...children.flat().filter(child => child !== null && child !== undefined))
  return element
}

// A text with *emphasis*
export const emphasised = text => text.split(/\*(.+?)\*/).map((part, i) => (i % 2 ? h('em', {}, part) : part))

export const button = (text, onclick, attributes = {}) => h('button', { type: 'button', onclick, ...attributes }, text)
export const field = (text, control) => h('label', { class: 'field' }, h('span', {}, text), control)

export function choice(options, chosen, onchange, attributes = {}) {
  const made = options.map(([value, text]) => h('option', { value }, text))
  const control = h('select', { ...attributes, onchange: () => onchange(control.value) }, made)
  control.value = chosen
  return control
}

// A table from a head and rows of strings or elements; `numbers`: the index from which columns are right-aligned.
export function table(head, rows, numbers = head.length, caption = null) {
  const kind = i => (i >= numbers ? 'n' : null)
  const cells = row => row.map((cell, i) => h(i ? 'td' : 'th', { class: kind(i), scope: i ? null : 'row' }, cell))
  return h(
    'table', {},
    caption === null ? null : h('caption', {}, caption),
    h('thead', {}, h('tr', {}, head.map((text, i) => h('th', { class: kind(i), scope: 'col' }, text)))),
    h('tbody', {}, rows.map(row => h('tr', {}, cells(row)))),
  )
}

// An SVG drawing of the server's as an element of the page.
export const drawing = text => document.importNode(new DOMParser().parseFromString(text, 'image/svg+xml').documentElement, true)
export const fromHash = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`
