// The strip: the whole run at a glance. Who leads, how many messages, faults, and the window that the lanes show.

const STRIP = { lead: 5, leadHeight: 15, load: 23, loadHeight: 22, fault: 47, faultHeight: 7, height: 58 };

function stripX(view, t) {
  const { run } = view;
  return GUTTER + (t - run.start) / (run.end - run.start) * (view.stripWidth - GUTTER - 8);
}

function stripT(view, x) {
  const { run } = view;
  return run.start + (x - GUTTER) / (view.stripWidth - GUTTER - 8) * (run.end - run.start);
}

// All but the window, drawn once for each size and theme.
function drawStrip(ctx, view, colours) {
  const { run } = view, width = view.stripWidth;
  ctx.fillStyle = colours.of('--bar');
  ctx.fillRect(0, 0, width, STRIP.height);
  ctx.textBaseline = 'middle';
  ctx.fillStyle = colours.of('--lane');
  ctx.fillRect(GUTTER, STRIP.lead, width - GUTTER - 8, STRIP.leadHeight);
  label(ctx, 'leader', 12, STRIP.lead + STRIP.leadHeight / 2, GUTTER, colours.of('--dim'), SMALL);
  label(ctx, 'messages', 12, STRIP.load + STRIP.loadHeight / 2, GUTTER, colours.of('--dim'), SMALL);
  // Of two that lead at the same time the one of the later term is in earnest.
  const leading = run.nodes.flatMap((node) => run.lanes.get(node).bands.filter((band) => band.role === 'leader').map((band) => ({ ...band, node })));
  leading.sort((a, b) => a.term - b.term);
  for (const band of leading) {
    const x0 = stripX(view, band.t0), x1 = stripX(view, band.t1);
    ctx.fillStyle = colours.role('leader');
    ctx.fillRect(x0, STRIP.lead, Math.max(x1 - x0, 1), STRIP.leadHeight);
    ctx.fillStyle = colours.of('--bar');
    ctx.fillRect(x0, STRIP.lead, 1, STRIP.leadHeight);
    label(ctx, `node ${band.node} · term ${band.term}`, x0 + 5, STRIP.lead + STRIP.leadHeight / 2 + 0.5, x1 - x0 - 8,
      colours.of('--on-strong'), SMALL, [`n${band.node} t${band.term}`, `${band.node}`]);
  }
  drawLoad(ctx, view, colours);
  ctx.fillStyle = colours.of('--fault');
  for (const fault of run.faults) {
    const x0 = stripX(view, fault.t0), x1 = stripX(view, fault.t1);
    ctx.globalAlpha = fault.lasts ? 0.55 : 0.9;
    ctx.fillRect(x0, STRIP.fault, Math.max(x1 - x0, 1.5), STRIP.faultHeight);
  }
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.of('--violation');
  for (const i of run.violations) ctx.fillRect(stripX(view, run.time[i]) - 1, 0, 3, STRIP.height);
  ctx.fillStyle = colours.of('--line');
  ctx.fillRect(0, STRIP.height - 1, width, 1);
}

// How many messages left in each pixel's stretch of time.
function drawLoad(ctx, view, colours) {
  const { run } = view, wide = Math.max(1, Math.floor(view.stripWidth - GUTTER - 8));
  const counts = new Uint32Array(wide), lost = new Uint32Array(wide);
  const { flights } = run;
  for (let f = 0; f < flights.n; f++) {
    const k = Math.min(wide - 1, Math.max(0, Math.floor((flights.t0[f] - run.start) / (run.end - run.start) * wide)));
    counts[k]++;
    if (flights.fate[f] === GONE) lost[k]++;
  }
  let most = 1;
  for (const count of counts) if (count > most) most = count;
  const bottom = STRIP.load + STRIP.loadHeight;
  const column = (array) => {
    for (let k = 0; k < wide; k++) {
      if (array[k]) {
        // The square root, so that a quiet cluster beside a busy one is still seen.
        const height = Math.sqrt(array[k] / most) * STRIP.loadHeight;
        ctx.fillRect(GUTTER + k, bottom - height, 1, height);
      }
    }
  };
  ctx.fillStyle = colours.of('--load');
  column(counts);
  ctx.fillStyle = colours.of('--lost');
  column(lost);
}

function drawWindow(ctx, view, colours) {
  const x0 = Math.max(stripX(view, view.t0), GUTTER), x1 = Math.min(stripX(view, view.t0 + view.span), view.stripWidth - 8);
  ctx.fillStyle = colours.of('--veil');
  ctx.fillRect(GUTTER, 0, x0 - GUTTER, STRIP.height - 1);
  ctx.fillRect(x1, 0, view.stripWidth - x1, STRIP.height - 1);
  ctx.strokeStyle = colours.of('--select');
  ctx.lineWidth = 1.5;
  ctx.strokeRect(x0 - 0.5, 1, Math.max(x1 - x0, 3) + 1, STRIP.height - 3);
}

