"use strict";

// Contours as on the command line (outputs/overlay.py): from the edge of a region inwards a light
// rim, then a line of its colour, then the fill.
const RIM_WHITE = 0.7; // share of white in the outermost line
const LINE = 64; // the width of a line is (width * height) ** 0.4 / LINE
// Distances to neighbours, as OpenCV's distance transform counts them: beside, diagonal, knight.
const [BESIDE, DIAGONAL, KNIGHT] = [1, 1.4, 2.1969];

/** Draw the contours of the regions of one canvas, the pixels of one colour, on another. */
function drawContours(canvas, painted) {
  const { width, height } = painted;
  Object.assign(canvas, { width, height });
  const { data } = painted.getContext("2d").getImageData(0, 0, width, height);
  const depth = borderDistance(new Uint32Array(data.buffer), width, height);
  const line = Math.max(1, (width * height) ** 0.4 / LINE);
  const rim = Math.max(1, line / 3);
  const drawn = new ImageData(width, height);
  for (let i = 0; i < depth.length; i++) {
    const cover = Math.min(1, rim + line - depth[i]);
    if (cover <= 0 || data[4 * i + 3] === 0) continue;
    const white = RIM_WHITE * Math.max(0, Math.min(1, rim - depth[i]));
    for (let c = 4 * i; c < 4 * i + 3; c++) drawn.data[c] = data[c] * (1 - white) + 255 * white;
    drawn.data[4 * i + 3] = data[4 * i + 3] * cover;
  }
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}

/** Return how far each pixel is from the nearest border; pixels on both sides of one have 0. */
function borderDistance(values, width, height) {
  const row = width + 4; // two far pixels on each side, so that no neighbour is missing
  const depth = new Float32Array(row * (height + 4)).fill(Infinity);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = y * width + x;
      const to = (y + 2) * row + x + 2;
      if (x + 1 < width && values[from] !== values[from + 1]) depth[to] = depth[to + 1] = 0;
      if (y + 1 < height && values[from] !== values[from + width]) depth[to] = depth[to + row] = 0;
    }
  }
  // From the upper left with the neighbours before each pixel, then back with those after it.
  for (const way of [-1, 1]) {
    const across = way * row;
    for (let line = 0; line < height; line++) {
      const y = way < 0 ? line : height - 1 - line;
      for (let step = 0; step < width; step++) {
        const x = way < 0 ? step : width - 1 - step;
        const at = (y + 2) * row + x + 2;
        if (depth[at] === 0 || values[y * width + x] === 0) continue; // unpainted: no line
        depth[at] = Math.min(
          depth[at],
          Math.min(depth[at + way], depth[at + across]) + BESIDE,
          Math.min(depth[at + across - 1], depth[at + across + 1]) + DIAGONAL,
          Math.min(depth[at + across - 2], depth[at + across + 2]) + KNIGHT,
          Math.min(depth[at + 2 * across - 1], depth[at + 2 * across + 1]) + KNIGHT,
        );
      }
    }
  }
  const found = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = (y + 2) * row + 2;
    found.set(depth.subarray(start, start + width), y * width);
  }
  return found;
}
