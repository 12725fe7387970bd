// The settings of a convolution, the four kinds, and numbers to begin with.
export const RANGES = { channels: [1, 8], side: [2, 12], out: [1, 8], kernel: [1, 5], stride: [1, 4], padding: [0, 4], groups: [1, 8] }
export const KINDS = ['standard', 'grouped', 'depthwise', 'pointwise']
export const INPUTS = ['ramp', 'square', 'random']
export const KERNELS = ['random', 'edge', 'blur', 'centre']

const FIRST = { channels: 4, side: 6, out: 4, kernel: 3, stride: 1, padding: 1, groups: 1, from: 'random', with: 'random' }

export const first = () => filled({ ...FIRST })

export function kindOf({ channels, kernel, groups }) {
  if (groups === 1) return kernel === 1 ? 'pointwise' : 'standard'
  return groups === channels ? 'depthwise' : 'grouped'
}

// The settings of another kind, as near to the given ones as it allows
export function ofKind(given, kind) {
  const kernel = given.kernel === 1 ? 3 : given.kernel
  const padding = given.kernel === 1 ? 1 : given.padding
  if (kind === 'pointwise') return filled({ ...given, kernel: 1, padding: 0, groups: 1 })
  if (kind === 'standard') return filled({ ...given, kernel, padding, groups: 1 })
  const channels = Math.max(2, given.channels)
  if (kind === 'depthwise') return filled({ ...given, kernel, padding, channels, out: channels, groups: channels })
  return filled({ ...given, kernel, padding, channels: 2 * Math.max(2, Math.round(channels / 2)), out: 2 * Math.max(1, Math.round(given.out / 2)), groups: 2 })
}

// The settings with one changed; a depthwise convolution stays one
export function changed(given, name, value) {
  const [low, high] = RANGES[name]
  const next = { ...given, [name]: Math.max(low, Math.min(high, Math.round(value) || low)) }
  if (kindOf(given) === 'depthwise' && (name === 'channels' || name === 'out')) {
    Object.assign(next, { channels: next[name], out: next[name], groups: next[name] })
  }
  return filled(next)
}

// The settings with their numbers: of the examples that are chosen
export function filled(given) {
  const { channels, side, out, kernel, groups } = given
  const per = channels / groups
  const next = random(7)
  const input = numbers(channels, side, { ramp: (c, r, k) => (r + k + c) % 10, square, random: () => Math.floor(next() * 10) }[given.from])
  const half = (kernel - 1) / 2
  const weights = numbers(Math.ceil(out * per), kernel, {
    random: () => Math.floor(next() * 5) - 2,
    edge: (_, __, k) => Math.sign(k - half),
    blur: () => 1 / kernel ** 2,
    centre: (_, r, k) => Number(r === Math.floor(half) && k === Math.floor(half)),
  }[given.with])
  const bias = Float32Array.from({ length: out }, (_, o) => (given.with === 'random' ? o % 3 : 0))
  return { ...given, input, weights, bias }

  function square(_, r, k) {
    const inside = v => v >= Math.floor(side / 4) && v < Math.ceil((3 * side) / 4)
    return inside(r) && inside(k) ? 9 : 0
  }
}

function numbers(channels, side, value) {
  return Float32Array.from({ length: channels * side * side }, (_, i) => value(Math.floor(i / side ** 2), Math.floor(i / side) % side, i % side))
}

// The numbers of a linear congruential generator, from 0 to 1: the same on every machine
function random(seed) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
