// The theme follows the system until the user chooses light or dark.
const KEY = 'neoclassic.theme'
const NEXT = { system: 'light', light: 'dark', dark: 'system' }
let theme = localStorage.getItem(KEY) in NEXT ? localStorage.getItem(KEY) : 'system'
const prefersDark = matchMedia('(prefers-color-scheme: dark)')

export const currentTheme = () => theme
export const isDark = () => (theme === 'system' ? prefersDark.matches : theme === 'dark')

export function startTheme() {
  apply()
  prefersDark.addEventListener('change', apply)
}

export function nextTheme() {
  theme = NEXT[theme]
  localStorage.setItem(KEY, theme)
  apply()
}

function apply() {
  document.documentElement.dataset.theme = isDark() ? 'dark' : 'light'
  dispatchEvent(new Event('themechange'))
}
