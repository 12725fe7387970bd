// The layers of a network as a table, and one of them in full.
import { button, h, table } from '../dom.js'
import { shape, t } from '../i18n.js'

export function layerTable(layers, choose) {
  const shown = layers.filter(layer => layer.leaf || layer.style === 'merge').filter(layer => layer.path && (layer.leaf || layer.type !== 'Sequential'))
  const rows = shown.map(layer => [
    button(layer.path, () => choose(layer.path), { class: 'link', 'data-path': layer.path }), layer.text, shape(layer.output),
    layer.parameters.toLocaleString('en'), layer.macs.toLocaleString('en'), seen(layer),
  ])
  const head = [t('zoo.path'), t('zoo.layer'), t('zoo.output'), t('zoo.parameters'), 'MACs', t('zoo.sees')]
  return h('div', { class: 'wide layers', tabindex: 0, role: 'region', 'aria-label': t('zoo.table') }, table(head, rows, 3, t('zoo.table')))
}

const seen = layer => [...new Set(layer.sees.map(field => field.size))].join('×')

export function layerCard(layer, name) {
  const formulas = Object.entries(layer.formulas).map(([key, text]) => [t(`zoo.formula.${key.toLowerCase()}`), text])
  const facts = [
    [t('zoo.code'), h('code', {}, layer.leaf ? `${layer.path.split('.').pop()} = ${layer.code}` : layer.code)],
    [t('zoo.shapes'), `${shape(layer.input)} → ${shape(layer.output)}`],
    [t('zoo.parameters'), layer.parameters.toLocaleString('en')],
    ['MACs', layer.macs.toLocaleString('en')],
    [t('zoo.sees'), layer.sees[0]?.step ? t('zoo.field', { size: seen(layer), step: layer.sees[0].step }) : t('zoo.everything')],
  ]
  return h('div', { class: 'card layer-card' },
    h('h2', {}, layer.path), h('p', {}, `${layer.text} · ${name}${layer.auxiliary ? ` · ${t('zoo.auxiliary')}` : ''}`),
    list(facts), formulas.length ? h('h3', {}, t('zoo.formulas')) : null, list(formulas))
}

const list = facts => h('dl', { class: 'facts' }, facts.map(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]).flat())
