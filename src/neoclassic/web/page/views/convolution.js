// One convolution, number by number. The server's NumPy engine computes every number of the output.
import { latest, postJson } from '../api.js'
import { grid } from '../convolution/grid.js'
import { changed, filled, first, INPUTS, KERNELS, kindOf, KINDS, ofKind, RANGES } from '../convolution/settings.js'
import { button, choice, field, h, replace, table } from '../dom.js'
import { percent, shape, t } from '../i18n.js'
import { sums } from '../look/sums.js'

const PAUSE = 700 // milliseconds between two steps
let kept = null // the settings and the step, so that another language shows them again

export function show(main, [kind]) {
  let settings = kept?.settings ?? first()
  if (KINDS.includes(kind) && kind !== kindOf(settings)) settings = ofKind(settings, kind)
  let step = kept?.step ?? 0
  let sides = [1, 1, 1] // of the output
  let grids = null
  let timer = null

  const bar = h('div', { class: 'bar', role: 'group', 'aria-label': t('convolution.kind') })
  const controls = h('div', { class: 'controls' })
  const about = h('p', { class: 'lead' })
  const code = h('code', { id: 'code' })
  const message = h('p', { role: 'alert', class: 'error' })
  const told = h('output', { 'aria-live': 'polite' })
  const slider = h('input', { type: 'range', min: 0, value: 0, 'aria-label': t('convolution.step'), oninput: () => go(Number(slider.value)) })
  const play = button(t('convolution.play'), () => (timer ? stop() : run()), { id: 'play' })
  const steps = h('div', { class: 'bar steps' },
    button('«', () => { stop(); go(0) }, { 'aria-label': t('convolution.start') }),
    button('◀', () => { stop(); go(step - 1) }, { 'aria-label': t('convolution.back') }),
    button('▶', () => { stop(); go(step + 1) }, { 'aria-label': t('convolution.next'), id: 'next' }),
    play, slider, told)
  const maps = { input: h('div', { class: 'grids' }), kernel: h('div', { class: 'grids' }), output: h('div', { class: 'grids' }) }
  const arithmetic = h('section', { class: 'card sums' })
  const cost = h('section', { class: 'card' })
  const element = h('div', { class: 'convolving' },
    h('div', {}, steps,
      ...Object.entries(maps).map(([name, holder]) => h('section', { id: name, 'aria-label': t(`convolution.${name}`) }, holder))),
    h('div', { class: 'beside' }, arithmetic, cost))
  main.append(h('h1', {}, t('convolution.heading')), bar, about, h('div', { class: 'card' }, controls, code), message, element)

  const load = latest(async () => {
    kept = { settings, step }
    const s = settings
    const query = { input: `${s.channels}x${s.side}x${s.side}`, out: s.out, kernel: s.kernel, stride: s.stride, padding: s.padding, groups: s.groups, step }
    try {
      const found = await postJson('lab/convolution', query, new Float32Array([...s.input, ...s.weights, ...s.bias]))
      if (s !== settings) return
      sides = found.shape
      step = Math.min(step, total() - 1)
      paint(found)
    } catch (error) {
      stop()
      message.textContent = error.message
      element.hidden = true
    }
  })

  const total = () => sides[0] * sides[1] * sides[2]
  function go(wanted) {
    step = Math.max(0, Math.min(total() - 1, wanted))
    load()
  }
  function run() {
    if (step === total() - 1) step = -1
    timer = setInterval(() => (step < total() - 1 ? go(step + 1) : stop()), PAUSE)
    play.textContent = t('convolution.pause')
    go(step + 1)
  }
  function stop() {
    clearInterval(timer)
    timer = null
    play.textContent = t('convolution.play')
  }
  function use(next) {
    settings = next
    grids = null
    stop()
    describe()
    load()
  }

  function describe() {
    const now = kindOf(settings)
    replace(bar, KINDS.map(one => button(t(`convolution.${one}`), () => use(ofKind(settings, one)), { 'aria-pressed': String(one === now), 'data-kind': one })))
    about.textContent = t(`convolution.${now}.about`, settings)
    const numberField = name => {
      const [min, max] = RANGES[name]
      const control = h('input', { type: 'number', min, max, value: settings[name], id: `set-${name}`, inputmode: 'numeric', onchange: () => { use(changed(settings, name, Number(control.value))); document.getElementById(`set-${name}`).focus() } })
      return field(t(`convolution.set.${name}`), control)
    }
    const example = (name, all) => field(t(`convolution.set.${name}`), choice(all.map(one => [one, t(`convolution.example.${one}`)]), settings[name], value => use(filled({ ...settings, [name]: value }))))
    replace(controls, ...Object.keys(RANGES).map(numberField), example('from', INPUTS), example('with', KERNELS))
  }

  function paint(found) {
    message.textContent = ''
    element.hidden = false
    grids ??= build(found.shape)
    const { unit } = found.unit
    const [o, row, column] = unit
    const { channels, side, out, kernel, stride, padding, groups, input, weights, bias } = settings
    const per = channels / groups
    const from = Math.floor(o / (out / groups)) * per
    grids.input.forEach((one, c) => {
      const read = c >= from && c < from + per
      one.fill(input.subarray(c * side ** 2, (c + 1) * side ** 2), largest(input))
      one.dim(!read)
      one.frame(row * stride - padding, column * stride - padding, read ? kernel : 0)
    })
    grids.kernel.forEach((one, i) => {
      const at = (o * per + i) * kernel ** 2
      one.fill(weights.subarray(at, at + kernel ** 2), largest(weights))
    })
    grids.bias.fill(bias.subarray(o, o + 1), largest(bias))
    grids.output.forEach((one, c) => {
      one.fill(found.output[c].flat(), largest(found.output.flat(2)))
      one.frame(row, column, c === o ? 1 : 0)
    })
    grids.heading.textContent = t('convolution.kernel_of', { o, shape: shape([per, kernel, kernel]) })
    slider.max = total() - 1
    slider.value = step
    told.textContent = t('convolution.at', { step: step + 1, total: total(), o, row, column })
    code.textContent = `nc.${found.code}`
    replace(arithmetic, ...sums(found.unit, channels))
    replace(cost, ...costs(found, kindOf(settings)))
    Object.assign(element.dataset, { unit: unit.join(','), value: found.unit.value, result: found.unit.result })
  }

  function build([, height, width]) {
    const { channels, side, out, kernel, padding, groups } = settings
    const made = (n, options) => Array.from({ length: n }, (_, c) => grid({ ...options(c), label: t('look.channel', { channel: c }) }))
    const editing = (array, at) => (i, value) => { array[at() + i] = value; load() }
    const o = () => Math.floor(step / (sides[1] * sides[2]))
    const area = kernel ** 2
    const result = {
      heading: h('h2', {}),
      input: made(channels, c => ({ height: side, width: side, padding, onedit: editing(settings.input, () => c * side ** 2) })),
      kernel: made(channels / groups, i => ({ height: kernel, width: kernel, onedit: editing(settings.weights, () => (o() * (channels / groups) + i) * area) })),
      bias: grid({ height: 1, width: 1, label: t('convolution.bias'), onedit: editing(settings.bias, o) }),
      output: made(out, c => ({ height, width, onchoose: i => { stop(); go(c * height * width + i) } })),
    }
    const elements = all => all.map(one => one.element)
    replace(maps.input, h('h2', {}, t('convolution.input_of', { shape: shape([channels, side, side]) })), elements(result.input))
    replace(maps.kernel, result.heading, elements([...result.kernel, result.bias]))
    replace(maps.output, h('h2', {}, t('convolution.output_of', { shape: shape([out, height, width]) })), elements(result.output))
    return result
  }

  const repaint = () => { if (grids) load() }
  addEventListener('themechange', repaint)
  describe()
  load()
  return () => { stop(); removeEventListener('themechange', repaint) }
}

const largest = values => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0)

function costs(found, now) {
  const other = output => shape(output) !== shape(found.shape)
  const rows = found.costs.map(one => [
    h('span', { 'data-kind': one.kind, class: one.kind === now ? 'now' : null }, t(`convolution.${one.kind}`), other(one.output) ? ` (${shape(one.output)})` : ''),
    one.parameters.toLocaleString('en'), one.macs.toLocaleString('en'), percent(one.share)])
  const facts = Object.entries(found.formulas).filter(([name]) => name !== 'sees' && name !== 'memory')
  return [
    h('h2', {}, t('convolution.cost')),
    h('dl', { class: 'facts' }, facts.flatMap(([name, formula]) => [h('dt', {}, t(`zoo.formula.${name.toLowerCase()}`)), h('dd', { class: 'formula' }, formula)])),
    h('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': t('convolution.cost') },
      table([t('convolution.kind'), t('zoo.parameters'), 'MACs', t('convolution.share')], rows, 1)),
    h('p', { class: 'hint' }, t('convolution.cost.about')),
  ]
}
