// Lanes on the canvas: a node's role as a band, how far its log has come, and what struck it.

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
  if (view.shown.disk) drawTicks(ctx, view, colours.of('--disk'), lane.disk, y + LANE - 2, 7);
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

