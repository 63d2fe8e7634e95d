// Messages on the canvas: lines from lane to lane, thinned where they lie on each other, named where there is room.

// About how many lines are drawn in a frame.
const LINES_MAX = 6000;

// Draws the messages; returns those that are few enough to be named.
function drawFlights(ctx, view, colours) {
  const { run } = view, { flights, types } = run;
  const perType = types.map(() => []), thin = thinning(view);
  let count = 0;
  flightsBetween(run, view.t0, view.t0 + view.span, (f) => {
    if (!isFlightShown(view, f)) return;
    const matters = view.matches && view.found.length < LINES_MAX && isFlightFound(view, f);
    if (thin && !matters && thin(f)) return;
    perType[flights.type[f]].push(f);
    count++;
  });
  const alpha = count < 250 ? 0.95 : count < 1500 ? 0.7 : count < 5000 ? 0.45 : 0.32;
  perType.forEach((list, type) => {
    if (list.length) drawFlightsOf(ctx, view, colours, colours.type(types[type]), list, alpha, count);
  });
  return count < 120 ? perType.flat().filter((f) => !view.matches || isFlightFound(view, f)) : [];
}

// Where lines lie on each other, one for each stretch of pixels is enough: of each kind and way, or, if there are very many,
// of each way. Null where there are few.
function thinning(view) {
  const { run } = view, { flights, types } = run, wide = view.width - GUTTER;
  const seen = lowerBound(flights.t0, view.t0 + view.span) - lowerBound(flights.t0, view.t0);
  if (seen < LINES_MAX / 2) return null;
  const nodes = run.nodes[run.nodes.length - 1] + 1, ways = Math.max(1, run.nodes.length * (run.nodes.length - 1));
  const byKind = seen < 4 * LINES_MAX;
  const lanes = ways * (byKind ? types.length / 2 : 1);
  const least = Math.max(0.7, lanes * wide / LINES_MAX) / wide * view.span * (byKind ? 0.5 : 1);
  const last = new Float64Array(nodes * nodes * types.length * 2).fill(-Infinity);
  return (f) => {
    // What was lost is never hidden by what was not.
    const kind = (byKind ? flights.type[f] : 0) * 2 + (flights.fate[f] === GONE ? 1 : 0);
    const lane = (kind * nodes + flights.from[f]) * nodes + flights.to[f];
    if (flights.t0[f] - last[lane] < least) return true;
    last[lane] = flights.t0[f];
    return false;
  };
}

function isFlightFound(view, f) {
  const { flights } = view.run;
  return view.matches[flights.row[f]] || (flights.end[f] >= 0 && view.matches[flights.end[f]]);
}

function drawFlightsOf(ctx, view, colours, colour, list, alpha, count) {
  const { flights } = view.run;
  const crosses = [], faint = [], clear = [];
  for (const f of list) (view.matches && !isFlightFound(view, f) ? faint : clear).push(f);
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  for (const [some, opacity] of [[faint, 0.1], [clear, view.matches ? 1 : alpha]]) {
    if (!some.length) continue;
    ctx.globalAlpha = opacity;
    ctx.lineWidth = count < 250 ? 1.4 : 1;
    // Short paths: a long one whose lines cross is dear to fill in.
    for (let start = 0; start < some.length; start += 200) {
      ctx.beginPath();
      for (let k = start; k < Math.min(start + 200, some.length); k++) {
        const line = lineOf(view, some[k]);
        if (!line) continue;
        ctx.moveTo(line.x0, line.y0);
        ctx.lineTo(line.x1, line.y1);
        if (flights.fate[some[k]] === GONE && opacity > 0.1) crosses.push(line);
      }
      ctx.stroke();
    }
    if (count < 400) {
      ctx.beginPath();
      for (const f of some) if (flights.fate[f] === ARRIVED) addHead(ctx, lineOf(view, f));
      ctx.fill();
    }
  }
  ctx.globalAlpha = Math.min(1, alpha + 0.3);
  ctx.strokeStyle = colours.of('--lost');
  ctx.lineWidth = 1.6;
  ctx.beginPath();
  const size = count < 400 ? 4 : 2.5;
  for (const { x1, y1 } of crosses) {
    ctx.moveTo(x1 - size, y1 - size); ctx.lineTo(x1 + size, y1 + size);
    ctx.moveTo(x1 + size, y1 - size); ctx.lineTo(x1 - size, y1 + size);
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function addHead(ctx, line) {
  if (!line) return;
  const angle = Math.atan2(line.y1 - line.y0, line.x1 - line.x0), size = 7, wide = 0.38;
  ctx.moveTo(line.x1, line.y1);
  ctx.lineTo(line.x1 - size * Math.cos(angle - wide), line.y1 - size * Math.sin(angle - wide));
  ctx.lineTo(line.x1 - size * Math.cos(angle + wide), line.y1 - size * Math.sin(angle + wide));
  ctx.closePath();
}

// Names along the lines, where there is room between the lanes and beside other names.
function drawFlightLabels(ctx, view, colours, list) {
  const { run, layout } = view, placed = [];
  for (const node of layout.nodes) placed.push({ x: 0, y: layout.y.get(node) + LANE / 2, w: Infinity, h: LANE / 2 - 6 });
  ctx.font = SMALL;
  for (const f of list) {
    const line = lineOf(view, f);
    if (!line) continue;
    const row = run.rows[run.flights.row[f]], name = run.names[row[5]];
    const wide = line.x1 - line.x0, tall = line.y1 - line.y0, length = Math.hypot(wide, tall);
    for (const text of [`${name} ${briefly(row[7])}`.trim(), name]) {
      const size = widthOf(ctx, text, SMALL);
      const box = { w: (size * Math.abs(wide) / length) / 2 + 7, h: (size * Math.abs(tall) / length) / 2 + 6 };
      const spot = [0.5, 0.3, 0.7, 0.18, 0.82].map((part) => ({ ...box, x: line.x0 + wide * part, y: line.y0 + tall * part }))
        .find(({ x, y, w, h }) => size < length * 0.9 && x > GUTTER && x < view.width &&
          !placed.some((other) => Math.abs(other.x - x) < other.w + w && Math.abs(other.y - y) < other.h + h));
      if (!spot) continue;
      placed.push(spot);
      ctx.save();
      ctx.translate(spot.x, spot.y);
      ctx.rotate(Math.atan2(tall, wide));
      ctx.fillStyle = colours.of('--ground');
      ctx.globalAlpha = 0.85;
      ctx.fillRect(-size / 2 - 3, -6.5, size + 6, 13);
      ctx.globalAlpha = 1;
      ctx.fillStyle = colours.type(name);
      ctx.fillText(text, -size / 2, 0.5);
      ctx.restore();
      break;
    }
  }
}

// The first field or two of a message: what it is about.
function briefly(fields) {
  const parts = fields.split(', ');
  const entries = parts.find((part) => /^entr/.test(part));
  if (entries) return entries.replace(/ \(\d+ B\)/, '').replace(/^entr(y|ies) /, '').replace(/@\d+/g, '');
  return /^(prev|round|request|session)/.test(parts[0]) ? '' : parts[0].slice(0, 24);
}

