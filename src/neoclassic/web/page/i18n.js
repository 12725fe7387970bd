// The texts of the page. A text is chosen by its key, and {name} in it is replaced by a value.
import { en } from './texts/en.js'
import { facts } from './texts/facts_zh.js'
import { zh } from './texts/zh.js'

const TEXTS = { en, zh }
const KEY = 'neoclassic.language'
let current = localStorage.getItem(KEY) ?? (navigator.language.startsWith('zh') ? 'zh' : 'en')
if (!(current in TEXTS)) current = 'en'

export const language = () => current
export function nextLanguage() {
  current = current === 'en' ? 'zh' : 'en'
  localStorage.setItem(KEY, current)
}

export function t(key, values = {}) {
  const text = TEXTS[current][key] ?? en[key] ?? key
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name])
}

// A sentence about a network or a recipe, which the server sends in English
export const told = text => (current === 'zh' && facts[text]) || text

// 12,345,678 as 12.3 M; per cent; a few significant digits
export const count = n => (n >= 1e9 ? `${(n / 1e9).toPrecision(3)} G` : n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : n.toLocaleString('en'))
export const percent = p => `${(100 * p).toFixed(1)} %`
export const bytes = n => (n >= 1 << 20 ? `${(n / (1 << 20)).toFixed(1)} MiB` : n >= 1024 ? `${(n / 1024).toFixed(1)} KiB` : `${n} B`)
export const number = (v, digits = 4) => (v === null ? '' : Number(v.toPrecision(digits)).toString().replace('-', '−'))
export const shape = sides => sides.join('×')
