// The shell: which view is shown, in which language and theme.
//
// A view is a module with `show(main, parameters, session)`. It fills `main`, and returns nothing or a function that
// ends what it began (listeners, cameras, requests). `parameters` are the parts of the address after the view's name:
// #/zoo/lenet/with/vgg11 gives ['lenet', 'with', 'vgg11']. The server says which views there are.
import { getJson, hasToken } from './api.js'
import { h, replace } from './dom.js'
import { language, nextLanguage, t } from './i18n.js'
import { currentTheme, nextTheme, startTheme } from './theme.js'

const VIEWS = {
  zoo: () => import('./views/zoo.js'),
  look: () => import('./views/look.js'),
  train: () => import('./views/train.js'),
  teach: () => import('./views/teach.js'),
  convolution: () => import('./views/convolution.js'),
  http: () => import('./views/http.js'),
}
const SIGNS = { system: '◐', light: '☀', dark: '☾' }
const $ = id => document.getElementById(id)
let session
let end
let showing = 0
let shown = ''

async function show() {
  const [name = '', ...parameters] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent)
  const view = session.views.includes(name) ? name : ''
  if (!view) return location.replace(`#/${session.start || session.views[0]}`)
  const turn = ++showing
  session = await getJson('lab/session').catch(() => session) // a training may have made a model
  const module = await VIEWS[view]()
  if (turn !== showing) return
  end?.()
  end = undefined
  shown = view
  $('trouble').hidden = true
  head(view)
  document.title = `${t(`${view}.title`)} · neoclassic`
  replace($('main'))
  try {
    end = await module.show($('main'), parameters, session)
  } catch (error) {
    replace($('main'), h('p', { role: 'alert' }, error.message))
  }
}

function head(view) {
  document.documentElement.lang = language()
  $('skip').textContent = t('shell.skip')
  $('language').textContent = t('shell.language')
  $('language').lang = language() === 'en' ? 'zh' : 'en'
  $('theme').textContent = SIGNS[currentTheme()]
  $('theme').title = t('shell.theme', { theme: t(`shell.theme.${currentTheme()}`) })
  $('theme').setAttribute('aria-label', $('theme').title)
  $('views').setAttribute('aria-label', t('shell.views'))
  const link = name => h('a', { href: `#/${name}`, 'aria-current': name === view ? 'page' : null }, t(`${name}.title`))
  replace($('views'), ...session.views.map(link))
}

// What fails after a view is shown, such as a request to a server that has ended
function tell(error) {
  $('trouble').textContent = error?.message ?? String(error)
  $('trouble').hidden = false
}

async function start() {
  startTheme()
  $('skip').onclick = () => $('main').focus()
  try {
    session = await getJson('lab/session')
  } catch (error) {
    return replace($('main'), h('p', { role: 'alert' }, hasToken() ? error.message : t('shell.token')))
  }
  $('language').onclick = () => { nextLanguage(); show() }
  $('theme').onclick = () => { nextTheme(); head(shown) }
  addEventListener('hashchange', show)
  addEventListener('unhandledrejection', event => { event.preventDefault(); tell(event.reason) })
  show()
}

start()
