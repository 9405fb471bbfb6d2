// Where a function on a grid crosses a level: marching squares.

// values: row by row, `columns` in each. The answer is a list of segments [[x, y], [x, y]], in columns and rows.
export const contour = (values, columns, level = 0) => {
  const segments = [], rows = values.length / columns;
  for (let j = 0; j + 1 < rows; j++) for (let i = 0; i + 1 < columns; i++) {
    const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], cuts = [];
    corners.forEach(([x, y], e) => {
      const [x2, y2] = corners[(e + 1) % 4], a = values[y * columns + x] - level, b = values[y2 * columns + x2] - level;
      if (a > 0 === b > 0) return;
      const t = a / (a - b);
      cuts.push([x + t * (x2 - x), y + t * (y2 - y)]);
    });
    for (let c = 0; c + 1 < cuts.length; c += 2) segments.push([cuts[c], cuts[c + 1]]);
  }
  return segments;
};
