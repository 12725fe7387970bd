// The choice of network, data and recipe, with the knobs of the recipe.
import { getJson } from '../api.js'
import { button, choice, field, h, replace } from '../dom.js'
import { t, told } from '../i18n.js'

const NUMBERS = ['epochs', 'batch_size', 'learning_rate', 'momentum', 'weight_decay', 'seed']
const WITH_MOMENTUM = ['sgd', 'rmsprop']

export async function form(start) {
  const options = await getJson('lab/train/options')
  const knobs = h('div', { class: 'controls', id: 'knobs' })
  const message = h('p', { role: 'alert', class: 'error' })
  const about = h('p', { class: 'hint' })
  const names = options.networks
  const network = choice(names.map(name => [name, name]), names.includes('lenet') ? 'lenet' : names[0], () => renew(true), { id: 'network' })
  const data = h('input', { id: 'data', list: 'datasets', value: options.data[0] ?? '', autocomplete: 'off', spellcheck: 'false' })
  const listed = h('datalist', { id: 'datasets' }, options.data.map(value => h('option', { value })))
  const recipes = h('span')
  let recipe = ''
  let controls = {}

  function offer() {
    const fitting = options.recipes.filter(one => one.network === network.value && options.data.includes(one.data))
    recipe = ''
    const all = [['', t('train.own_recipe')], ...fitting.map(one => [one.name, one.name])]
    const chosen = name => {
      recipe = name
      const { data: its } = fitting.find(one => one.name === name) ?? {}
      if (its) data.value = its
      renew(false)
    }
    replace(recipes, field(t('train.recipe'), choice(all, '', chosen, { id: 'recipe' })))
  }

  async function renew(other) {
    if (other) offer()
    try {
      const found = await getJson('lab/train/recipe', { network: network.value, data: data.value, recipe })
      fill(found)
      message.textContent = ''
    } catch (error) {
      message.textContent = error.message
    }
  }

  function fill(found) {
    about.textContent = told(found.about)
    knobs.dataset.of = found.data
    controls = Object.fromEntries(NUMBERS.map(name => [name, h('input', { id: `knob-${name}`, type: 'number', min: 0, step: 'any', value: found[name] })]))
    const schedules = options.schedules.includes(found.schedule) ? options.schedules : [found.schedule, ...options.schedules]
    const plain = all => all.map(value => [value, value])
    controls.optimizer = choice(plain(options.optimizers), found.optimizer, able, { id: 'knob-optimizer' })
    controls.schedule = choice(plain(schedules), found.schedule, () => {}, { id: 'knob-schedule' })
    able(found.optimizer)
    replace(knobs, Object.entries(controls).map(([name, control]) => field(t(`train.${name}`), control)))
  }

  function able(optimizer) {
    controls.momentum.disabled = !WITH_MOMENTUM.includes(optimizer)
  }

  data.onchange = () => renew(false)
  await renew(true)
  const begin = button(t('train.start'), () => {
    const given = Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value]))
    start({ network: network.value, data: data.value, recipe, ...given })
  }, { id: 'start' })
  return h('div', { class: 'choosing' },
    h('div', { class: 'controls' }, field(t('train.network'), network), field(t('train.data'), data), listed, recipes),
    about, knobs, message, h('div', { class: 'bar' }, begin))
}
