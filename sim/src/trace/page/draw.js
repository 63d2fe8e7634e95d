// Drawing: everything on the canvas, every frame anew, but only what is visible, and never two lines on one pixel.

const TYPE_COLOURS = {
  Append: '--append', AppendReply: '--append-reply', Heartbeat: '--heartbeat', HeartbeatReply: '--heartbeat-reply',
  Vote: '--vote', VoteReply: '--vote-reply', PreVote: '--prevote', PreVoteReply: '--prevote-reply',
  ReadIndex: '--read', ReadIndexReply: '--read-reply',
};
const ROLE_COLOURS = {
  leader: '--leader', follower: '--follower', candidate: '--candidate', 'pre-candidate': '--precandidate',
  learner: '--learner', starting: '--starting', down: '--down',
};
const OUTCOME_COLOURS = ['--done', '--refused', '--unknown', '--open'];
// About how many lines are drawn in a frame.
const LINES_MAX = 6000;
const SANS = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const SMALL = '10px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const BOLD = '600 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

// The colours of the style sheet, read once for each theme.
function readColours() {
  const style = getComputedStyle(document.documentElement), colours = {};
  const colour = (name) => colours[name] || (colours[name] = style.getPropertyValue(name).trim());
  return {
    of: colour,
    type: (name) => colour(TYPE_COLOURS[name] || '--other'),
    role: (name) => colour(ROLE_COLOURS[name] || '--starting'),
    outcome: (number) => colour(OUTCOME_COLOURS[number]),
  };
}

function draw(ctx, view, colours) {
  const { width, height, layout } = view;
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.of('--ground');
  ctx.fillRect(0, 0, width, height);
  ctx.textBaseline = 'middle';
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER, 0, width - GUTTER, height);
  ctx.clip();
  const ticks = timeTicks(view);
  drawGrid(ctx, view, colours, ticks);
  drawFaultShades(ctx, view, colours);
  const labelled = drawFlights(ctx, view, colours);
  for (const node of layout.nodes) drawLane(ctx, view, colours, view.run.lanes.get(node), layout.y.get(node));
  drawFlightLabels(ctx, view, colours, labelled);
  drawFaultTracks(ctx, view, colours);
  drawCalls(ctx, view, colours);
  drawRuler(ctx, view, colours, ticks);
  drawViolations(ctx, view, colours);
  drawSelected(ctx, view, colours);
  ctx.restore();
  drawGutter(ctx, view, colours);
}

// Round instants at a pleasant distance.
function timeTicks(view) {
  const wanted = view.span / ((view.width - GUTTER) / 110);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted) || wanted;
  const digits = Math.max(0, Math.ceil(-Math.log10(step / 1000) - 1e-9));
  const ticks = [];
  for (let t = Math.ceil(view.t0 / step) * step; t <= view.t0 + view.span; t += step) {
    if (t >= view.run.start - 1e-9 && t <= view.run.end + step) ticks.push({ t, x: Math.round(xOf(view, t)) + 0.5, digits });
  }
  return ticks;
}

function drawGrid(ctx, view, colours, ticks) {
  ctx.strokeStyle = colours.of('--grid');
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const { x } of ticks) { ctx.moveTo(x, RULER); ctx.lineTo(x, view.height); }
  ctx.stroke();
}

function drawRuler(ctx, view, colours, ticks) {
  ctx.fillStyle = colours.of('--bar');
  ctx.fillRect(GUTTER, 0, view.width - GUTTER, RULER - 1);
  ctx.fillStyle = colours.of('--line');
  ctx.fillRect(GUTTER, RULER - 1, view.width - GUTTER, 1);
  ctx.font = SMALL;
  ctx.fillStyle = colours.of('--dim');
  ctx.strokeStyle = colours.of('--line');
  ctx.beginPath();
  for (const { t, x, digits } of ticks) {
    ctx.moveTo(x, RULER - 6); ctx.lineTo(x, RULER);
    ctx.fillText(seconds(t, digits), x + 4, RULER / 2);
  }
  ctx.stroke();
}

// A faint shade over all lanes while a fault of the whole world lasts.
function drawFaultShades(ctx, view, colours) {
  const { y, height } = view.layout.faults, bottom = view.layout.clients.y;
  ctx.fillStyle = colours.of('--fault-shade');
  for (const fault of view.run.faults) {
    if (fault.track < 0 || !fault.lasts || fault.node > 0 || !isFaultShown(view, fault)) continue;
    const x0 = Math.max(xOf(view, fault.t0), GUTTER), x1 = Math.min(xOf(view, fault.t1), view.width);
    if (x1 > x0) ctx.fillRect(x0, y + height, x1 - x0, bottom - y - height);
  }
}

// Draws the messages; returns those that are few enough to be named.
function drawFlights(ctx, view, colours) {
  const { run } = view, { flights, types } = run;
  const perType = types.map(() => []), thin = thinning(view);
  let count = 0;
  flightsBetween(run, view.t0, view.t0 + view.span, (f) => {
    if (!isFlightShown(view, f)) return;
    const matters = flights.fate[f] === GONE || (view.matches && view.found.length < LINES_MAX && isFlightFound(view, f));
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
  const last = new Float64Array(nodes * nodes * types.length).fill(-Infinity);
  return (f) => {
    const lane = ((byKind ? flights.type[f] : 0) * nodes + flights.from[f]) * nodes + flights.to[f];
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

function drawLane(ctx, view, colours, lane, y) {
  const t1 = view.t0 + view.span;
  ctx.fillStyle = colours.of('--lane');
  ctx.fillRect(GUTTER, y, view.width - GUTTER, LANE);
  let k = Math.max(0, lowerBound(lane.bands, view.t0, (band) => band.t0) - 1), last = null;
  for (; k < lane.bands.length && lane.bands[k].t0 <= t1; k++) {
    const band = lane.bands[k];
    const x0 = Math.max(xOf(view, band.t0), GUTTER), x1 = Math.min(xOf(view, band.t1), view.width);
    if (x1 < GUTTER || (last !== null && x1 - last < 0.5)) continue;
    last = x1;
    drawBand(ctx, colours, band, x0, Math.max(x1, x0 + 1), y);
  }
  ctx.strokeStyle = colours.of('--line');
  ctx.lineWidth = 1;
  ctx.strokeRect(GUTTER - 2, y + 0.5, view.width - GUTTER + 4, LANE - 1);
  drawWatermarks(ctx, view, colours, lane, y);
  drawFrozen(ctx, view, colours, lane, y);
  if (view.shown.disk) drawTicks(ctx, view, colours.of('--disk'), lane.disk, y + LANE - 6, 6);
  if (view.shown.logs) drawTicks(ctx, view, colours.of('--log'), lane.logs, y + BAND, 5);
  drawMarks(ctx, view, colours, lane, y);
}

function drawFrozen(ctx, view, colours, lane, y) {
  for (const fault of lane.frozen || []) {
    const x0 = Math.max(xOf(view, fault.t0), GUTTER), x1 = Math.min(xOf(view, fault.t1), view.width);
    if (x1 <= x0 || !isFaultShown(view, fault)) continue;
    ctx.fillStyle = colours.of('--lane');
    ctx.fillRect(x0, y + BAND, x1 - x0, WATER);
    hatch(ctx, x0, y, x1 - x0, LANE, colours.of('--frozen'), 6);
    if (x1 - x0 < 60) continue;
    ctx.fillStyle = colours.of('--lane');
    ctx.fillRect(x0 + 4, y + BAND, 44, WATER - 1);
    label(ctx, 'frozen', x0 + 7, y + BAND + WATER / 2, x1 - x0, colours.of('--text'), BOLD);
  }
}

function drawBand(ctx, colours, band, x0, x1, y) {
  ctx.fillStyle = colours.role(band.role);
  ctx.fillRect(x0, y, x1 - x0, BAND);
  if (band.role === 'down') {
    ctx.fillRect(x0, y, x1 - x0, LANE);
    hatch(ctx, x0, y, x1 - x0, LANE, colours.of('--down-hatch'), 5);
  }
  ctx.fillStyle = colours.of('--ground');
  if (x1 - x0 > 2) ctx.fillRect(x1 - 1, y, 1, band.role === 'down' ? LANE : BAND);
  const strong = band.role === 'leader' || band.role === 'candidate';
  const colour = colours.of(strong ? '--on-strong' : '--on-soft');
  const term = band.role === 'down' || !band.term ? '' : ` · term ${band.term}`;
  const follows = band.role === 'follower' && band.leader ? ` · follows ${band.leader}` : '';
  label(ctx, band.role + term + follows, x0 + 7, y + BAND / 2 + 0.5, x1 - x0 - 10, colour, strong ? BOLD : SANS,
    [band.role + term, term ? `t${band.term}` : '']);
}

const widths = new Map();

// How wide a text is: asked so often that it is remembered.
function widthOf(ctx, text, font) {
  const key = font + text;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size > 20000) widths.clear();
    ctx.font = font;
    widths.set(key, width = ctx.measureText(text).width);
  }
  return width;
}

// Text that fits, or a shorter one, or none.
function label(ctx, text, x, y, room, colour, font, shorter = []) {
  if (room < 8) return;
  const fits = [text, ...shorter].find((words) => words && widthOf(ctx, words, font) <= room);
  ctx.font = font;
  if (!fits) return;
  ctx.fillStyle = colour;
  ctx.fillText(fits, x, y);
}

function hatch(ctx, x, y, width, height, colour, step) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, y, width, height);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (let d = Math.floor((x - height) / step) * step; d < x + width; d += step) {
    ctx.moveTo(d, y + height);
    ctx.lineTo(d + height, y);
  }
  ctx.stroke();
  ctx.restore();
}

// How far the log is committed and applied: in figures that hold from where they stand, as many as fit side by side.
function drawWatermarks(ctx, view, colours, lane, y) {
  const { run } = view, { states } = lane, timeOf = (i) => run.time[i];
  ctx.font = SMALL;
  const middle = y + BAND + WATER / 2 + 0.5;
  let k = Math.max(0, lowerBound(states, view.t0, timeOf) - 1), free = GUTTER, before = '';
  while (k < states.length) {
    const x = Math.max(xOf(view, run.time[states[k]]), free);
    if (x > view.width) break;
    const row = run.rows[states[k]], band = bandAt(lane, tOf(view, x));
    const text = row[8] === row[9] && row[8] === row[6] ? `all ${row[8]}` : `last ${row[6]} · commit ${row[8]} · applied ${row[9]}`;
    const width = widthOf(ctx, text, SMALL), end = band ? xOf(view, band.t1) : view.width;
    const fits = x + 7 + width < end || band === lane.bands[lane.bands.length - 1];
    if (text !== before && band && band.role !== 'down' && fits) {
      ctx.fillStyle = colours.of('--line');
      ctx.fillRect(x + 3, y + BAND + 2, 1, WATER - 4);
      ctx.fillStyle = colours.of('--dim');
      ctx.fillText(text, x + 7, middle);
      before = text;
      free = x + width + 20;
    }
    // On to the state that holds where there is room again.
    k = Math.max(k + 1, lowerBound(states, tOf(view, free), timeOf) - 1);
  }
}

function bandAt(lane, t) {
  const k = lowerBound(lane.bands, t + 1e-9, (band) => band.t0) - 1;
  return k >= 0 ? lane.bands[k] : null;
}

function drawTicks(ctx, view, colour, rows, y, size) {
  const { run } = view, t1 = view.t0 + view.span;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.beginPath();
  let last = -1;
  for (let k = lowerBound(rows, view.t0, (i) => run.time[i]); k < rows.length && run.time[rows[k]] <= t1; k++) {
    const x = Math.round(xOf(view, run.time[rows[k]])) + 0.5;
    if (x === last && !view.matches) continue;
    last = x;
    ctx.moveTo(x, y);
    ctx.lineTo(x, y + size);
  }
  ctx.stroke();
}

// Faults that struck a node, as diamonds above its lane.
function drawMarks(ctx, view, colours, lane, y) {
  const { run } = view;
  let last = -Infinity;
  for (const i of lane.marks) {
    const x = xOf(view, run.time[i]);
    if (x < GUTTER - 6 || x > view.width + 6 || x - last < 3 || view.hidden.faults.has(run.names[run.rows[i][3]])) continue;
    last = x;
    diamond(ctx, x, y - 6, 4.5, colours.of('--fault'), run.rows[i][2] === FAULT);
  }
}

function diamond(ctx, x, y, size, colour, isFull) {
  ctx.beginPath();
  ctx.moveTo(x, y - size); ctx.lineTo(x + size, y); ctx.lineTo(x, y + size); ctx.lineTo(x - size, y);
  ctx.closePath();
  ctx.lineWidth = 1.4;
  ctx.fillStyle = ctx.strokeStyle = colour;
  if (isFull) ctx.fill(); else ctx.stroke();
}

function drawFaultTracks(ctx, view, colours) {
  const { y, height } = view.layout.faults;
  if (!height) return;
  ctx.fillStyle = colours.of('--ground');
  ctx.fillRect(GUTTER, y, view.width - GUTTER, height);
  for (const fault of view.run.faults) {
    if (fault.track < 0 || !isFaultShown(view, fault)) continue;
    const x0 = Math.max(xOf(view, fault.t0), GUTTER - 8), x1 = Math.min(xOf(view, fault.t1), view.width);
    if (x1 < GUTTER - 6 || x0 > view.width + 6) continue;
    const top = y + 3 + fault.track * TRACK;
    if (!fault.lasts) { diamond(ctx, x0, top + TRACK / 2 - 1, 4.5, colours.of('--fault'), true); continue; }
    ctx.fillStyle = colours.of('--fault-band');
    ctx.fillRect(x0, top, Math.max(x1 - x0, 2), TRACK - 3);
    ctx.fillStyle = colours.of('--fault');
    ctx.fillRect(x0, top, 2, TRACK - 3);
    const who = fault.node > 0 ? `${nodeName(fault.node)} ` : '';
    label(ctx, `${who}${fault.kind}${fault.text ? `: ${fault.text}` : ''}`, Math.max(x0, GUTTER) + 6, top + (TRACK - 3) / 2 + 0.5,
      x1 - Math.max(x0, GUTTER) - 8, colours.of('--text'), SMALL, [`${who}${fault.kind}`, fault.kind]);
  }
}

function drawCalls(ctx, view, colours) {
  const { clients } = view.layout, { run } = view;
  if (!clients.height) return;
  ctx.fillStyle = colours.of('--ground');
  ctx.fillRect(GUTTER, clients.y, view.width - GUTTER, clients.height);
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER, clients.y + 20, view.width - GUTTER, clients.height - 20);
  ctx.clip();
  run.clients.forEach((client, k) => {
    const y = clients.y + 22 + k * CALL - view.scroll;
    if (y < clients.y || y > view.height) return;
    if (k % 2) { ctx.fillStyle = colours.of('--stripe'); ctx.fillRect(GUTTER, y - 1, view.width, CALL); }
    drawCallsOf(ctx, view, colours, client.calls, y);
  });
  ctx.restore();
  ctx.fillStyle = colours.of('--line');
  ctx.fillRect(GUTTER, clients.y, view.width - GUTTER, 1);
}

function drawCallsOf(ctx, view, colours, calls, y) {
  const t1 = view.t0 + view.span, tall = CALL - 4;
  let last = -Infinity, k = Math.max(0, lowerBound(calls, view.t0, (call) => call.t0) - 1);
  for (; k < calls.length && calls[k].t0 <= t1; k++) {
    const call = calls[k];
    if (call.t1 < view.t0 || view.hidden.outcomes.has(call.outcome)) continue;
    const x0 = Math.max(xOf(view, call.t0), GUTTER - 3), x1 = Math.min(xOf(view, call.t1), view.width + 3);
    if (x1 - last < 0.7) continue;
    last = x1;
    const wide = Math.max(x1 - x0, 1.5), colour = colours.outcome(call.outcome);
    const found = !view.matches || view.matches[call.row] || (call.end >= 0 && view.matches[call.end]);
    ctx.globalAlpha = found ? 1 : 0.15;
    ctx.fillStyle = colour;
    if (call.outcome === 0 || wide < 4) ctx.fillRect(x0, y, wide, tall);
    else {
      // Not by colour alone: refused is hollow, unknown and open are hatched.
      ctx.lineWidth = 1.2;
      ctx.strokeStyle = colour;
      if (call.outcome !== 1) hatch(ctx, x0, y, wide, tall, colour, 4);
      ctx.strokeRect(x0 + 0.6, y + 0.6, wide - 1.2, tall - 1.2);
    }
    if (wide > 30) {
      label(ctx, call.operation, Math.max(x0, GUTTER) + 4, y + tall / 2 + 0.5, x1 - Math.max(x0, GUTTER) - 6,
        colours.of(call.outcome === 0 ? '--on-strong' : '--text'), SMALL, [call.operation.split(' ')[0]]);
    }
  }
  ctx.globalAlpha = 1;
}

function drawViolations(ctx, view, colours) {
  const { run } = view, red = colours.of('--violation');
  for (const i of run.violations) {
    const x = xOf(view, run.time[i]), node = run.rows[i][1];
    if (x < GUTTER - 200 || x > view.width + 200) continue;
    ctx.fillStyle = red;
    ctx.fillRect(x - 1, 0, 2, view.height);
    const y = view.layout.y.get(node);
    if (y !== undefined) {
      ctx.strokeStyle = red;
      ctx.lineWidth = 2.5;
      ctx.strokeRect(x - 9, y - 3, 18, LANE + 6);
    }
    ctx.font = BOLD;
    const text = 'violation', wide = widthOf(ctx, text, BOLD) + 12, left = Math.min(x, view.width - wide);
    ctx.fillRect(left, 2, wide, RULER - 5);
    ctx.fillStyle = colours.of('--on-violation');
    ctx.fillText(text, left + 6, RULER / 2);
  }
}

function drawSelected(ctx, view, colours) {
  for (const [i, strength] of [[view.hover, 0.55], [view.selected, 1]]) {
    if (i < 0) continue;
    ctx.globalAlpha = strength;
    drawOutline(ctx, view, colours, i);
    ctx.globalAlpha = 1;
  }
}

function drawOutline(ctx, view, colours, i) {
  const { run, layout } = view, row = run.rows[i], x = xOf(view, run.time[i]);
  const f = run.flightOf[i];
  if (f >= 0) {
    const line = lineOf(view, f);
    if (!line) return;
    for (const [wide, colour] of [[7, colours.of('--halo')], [2.6, colours.type(run.types[run.flights.type[f]])]]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = wide;
      ctx.beginPath();
      ctx.moveTo(line.x0, line.y0);
      ctx.lineTo(line.x1, line.y1);
      ctx.stroke();
    }
    ctx.fillStyle = colours.type(run.types[run.flights.type[f]]);
    ctx.beginPath();
    ctx.arc(line.x0, line.y0, 3.5, 0, 7);
    ctx.fill();
    ctx.beginPath();
    if (run.flights.fate[f] === ARRIVED) addHead(ctx, line);
    ctx.fill();
    return;
  }
  ctx.strokeStyle = colours.of('--select');
  ctx.lineWidth = 2;
  const request = run.requestOf.get(i);
  if (request) {
    const k = run.clients.findIndex((client) => client.calls.includes(request));
    const y = layout.clients.y + 22 + k * CALL - view.scroll;
    if (y > layout.clients.y + 8) {
      ctx.strokeRect(xOf(view, request.t0) - 2, y - 2, Math.max(xOf(view, request.t1) - xOf(view, request.t0), 1.5) + 4, CALL);
    }
  } else if (layout.y.has(row[1])) {
    ctx.strokeRect(x - 4, layout.y.get(row[1]) - 3, 8, LANE + 6);
  } else {
    const fault = run.faultOf.get(i);
    if (!fault || fault.track < 0) return;
    const x1 = xOf(view, fault.t1), top = layout.faults.y + 2 + fault.track * TRACK;
    ctx.strokeRect(x - 5, top, Math.max(x1 - x, 0) + 10, TRACK - 1);
  }
}

function drawGutter(ctx, view, colours) {
  const { run, layout } = view;
  ctx.fillStyle = colours.of('--bar');
  ctx.fillRect(0, 0, GUTTER - 1, view.height);
  ctx.fillStyle = colours.of('--line');
  ctx.fillRect(GUTTER - 1, 0, 1, view.height);
  if (layout.faults.height) label(ctx, 'faults', 12, layout.faults.y + 3 + TRACK / 2, GUTTER, colours.of('--dim'), SMALL);
  const t = view.t0 + view.span / 2;
  for (const node of layout.nodes) {
    const y = layout.y.get(node), band = bandAt(run.lanes.get(node), t);
    label(ctx, nodeName(node), 12, y + BAND / 2, GUTTER, colours.of('--text'), BOLD);
    if (band) label(ctx, band.role, 12, y + BAND + WATER / 2 - 1, GUTTER - 14, colours.of('--dim'), SMALL);
  }
  const { clients } = layout;
  if (!clients.height) return;
  ctx.fillStyle = colours.of('--line');
  ctx.fillRect(0, clients.y, GUTTER, 1);
  label(ctx, 'clients', 12, clients.y + 11, GUTTER, colours.of('--dim'), SMALL);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, clients.y + 20, GUTTER, clients.height);
  ctx.clip();
  run.clients.forEach((client, k) => {
    const y = clients.y + 22 + k * CALL - view.scroll;
    if (y < clients.y || y > view.height || client.track) return;
    label(ctx, `client ${client.client}`, 12, y + (CALL - 4) / 2, GUTTER, colours.of('--text'), SMALL);
  });
  ctx.restore();
}

