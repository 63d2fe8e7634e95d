// Drawing: everything on the canvas, every frame anew, but only what is visible. Here the frame, the ruler, the marks, and
// the tools that flights.js, lanes.js and calls.js share.

const TYPE_COLOURS = {
  Append: '--append', AppendReply: '--append-reply', Heartbeat: '--heartbeat', HeartbeatReply: '--heartbeat-reply',
  Vote: '--vote', VoteReply: '--vote-reply', PreVote: '--prevote', PreVoteReply: '--prevote-reply',
  TimeoutNow: '--vote', ReadIndex: '--read', ReadIndexReply: '--read-reply',
};
const ROLE_COLOURS = {
  leader: '--leader', follower: '--follower', candidate: '--candidate', 'pre-candidate': '--precandidate',
  learner: '--learner', starting: '--starting', down: '--down',
};
const OUTCOME_COLOURS = ['--done', '--refused', '--unknown', '--open'];
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

function diamond(ctx, x, y, size, colour, isFull) {
  ctx.beginPath();
  ctx.moveTo(x, y - size); ctx.lineTo(x + size, y); ctx.lineTo(x, y + size); ctx.lineTo(x - size, y);
  ctx.closePath();
  ctx.lineWidth = 1.4;
  ctx.fillStyle = ctx.strokeStyle = colour;
  if (isFull) ctx.fill(); else ctx.stroke();
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

