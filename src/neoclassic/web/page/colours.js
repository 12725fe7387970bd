// The colours of values: 0 is the page, positive values are blue, negative ones orange.
import { isDark } from './theme.js'

const STOPS = {
  light: { zero: [255, 255, 255], plus: [[84, 150, 222], [9, 38, 82]], minus: [[236, 150, 60], [105, 42, 0]] },
  dark: { zero: [15, 19, 26], plus: [[44, 112, 186], [214, 233, 255]], minus: [[186, 98, 10], [255, 230, 196]] },
}
const tables = {}

const mix = (a, b, share) => a.map((v, i) => Math.round(v + (b[i] - v) * share))

function colour(value, { zero, plus, minus }) {
  const [middle, most] = value >= 0 ? plus : minus
  const share = Math.min(Math.abs(value), 1) ** 0.7
  return share < 0.5 ? mix(zero, middle, 2 * share) : mix(middle, most, 2 * share - 1)
}

// RGBA of the 256 bytes of a sheet, in which 128 is 0
function table() {
  const theme = isDark() ? 'dark' : 'light'
  if (!tables[theme]) {
    const rgba = new Uint8ClampedArray(1024)
    for (let byte = 0; byte < 256; byte++) rgba.set([...colour((byte - 128) / 127, STOPS[theme]), 255], 4 * byte)
    tables[theme] = new Uint32Array(rgba.buffer)
  }
  return tables[theme]
}

export const cssColour = value => `rgb(${colour(value, STOPS[isDark() ? 'dark' : 'light']).join(',')})`

// A canvas, not on the page, of bytes as a sheet has them
export function fromBytes(bytes, width, height) {
  const rgba = new Uint32Array(bytes.length)
  const colours = table()
  for (let i = 0; i < bytes.length; i++) rgba[i] = colours[bytes[i]]
  return fromRgba(new Uint8ClampedArray(rgba.buffer), width, height)
}

// The same of numbers from −most to most
export function fromNumbers(numbers, width, height, most) {
  const scale = most ? 127 / most : 0
  return fromBytes(Uint8Array.from(numbers, v => Math.round(Math.max(-127, Math.min(127, v * scale)) + 128)), width, height)
}

// The same of the pixels of an image, grey or colour
export function fromPixels(pixels, width, height) {
  const channels = pixels.length / (width * height)
  const rgba = new Uint8ClampedArray(4 * width * height)
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = pixels[i * channels + (channels === 1 ? 0 : c)]
    rgba[4 * i + 3] = 255
  }
  return fromRgba(rgba, width, height)
}

function fromRgba(rgba, width, height) {
  const canvas = document.createElement('canvas')
  Object.assign(canvas, { width, height })
  canvas.getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0)
  return canvas
}
