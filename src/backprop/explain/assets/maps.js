"use strict";
// Maps of the plane on a canvas: shades, the line where two classes are equally likely, and points.

// One pixel for each recorded point; the canvas smooths between them, except where classes have no order.
function shades(n, levels, classes) {
  const small = document.createElement("canvas"), context = small.getContext("2d"), picture = context.createImageData(n, n);
  small.width = small.height = n;
  const card = rgb("--card"), hues = ["--s2", "--s1", "--s3", "--s4", "--s5", "--s6"].map(rgb);
  levels.forEach((level, k) => {
    const p = level / 255;
    const shade = classes ? mix(card, hues[classes[k] % 6], 0.15 + 0.55 * p) : mix(card, p < 0.5 ? hues[0] : hues[1], 1.2 * Math.abs(p - 0.5));
    picture.data.set([...shade, 255], 4 * ((n - 1 - Math.floor(k / n)) * n + (k % n)));
  });
  context.putImageData(picture, 0, 0);
  return small;
}

// The line p = 0.5 through the recorded points: in each square of four neighbours, from side to side.
function outline(context, n, levels, cell) {
  const half = 127.5, x = (column) => (column + 0.5) * cell, y = (row) => (n - row - 0.5) * cell;
  context.strokeStyle = color("--ink");
  context.lineWidth = 3.5;
  context.lineCap = "round";
  context.beginPath();
  for (let row = 0; row + 1 < n; row++) {
    for (let column = 0; column + 1 < n; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const crossings = [];
      corners.forEach(([c, r], k) => {
        const [c2, r2] = corners[(k + 1) % 4], a = levels[r * n + c] - half, b = levels[r2 * n + c2] - half;
        if (a * b < 0) crossings.push([x(c + (c2 - c) * (a / (a - b))), y(r + (r2 - r) * (a / (a - b)))]);
      });
      for (let k = 0; k + 1 < crossings.length; k += 2) { context.moveTo(...crossings[k]); context.lineTo(...crossings[k + 1]); }
    }
  }
  context.stroke();
}

const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, 1.8 * r, 1.8 * r),
  (c, x, y, r) => { c.moveTo(x, y - 1.2 * r); c.lineTo(x + 1.1 * r, y + 0.8 * r); c.lineTo(x - 1.1 * r, y + 0.8 * r); c.closePath(); },
  (c, x, y, r) => { c.moveTo(x, y - 1.3 * r); c.lineTo(x + 1.3 * r, y); c.lineTo(x, y + 1.3 * r); c.lineTo(x - 1.3 * r, y); c.closePath(); },
];

function dot(context, [x, y], kind, radius, regression) {
  const hues = ["--s2", "--s1", "--s3", "--s4", "--s5", "--s6"];
  context.beginPath();
  SHAPES[regression ? 0 : kind % SHAPES.length](context, x, y, radius);
  context.fillStyle = color(regression ? "--ink" : hues[kind % hues.length]);
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = color("--card");
  context.stroke();
}
