// What stands above and below the lanes on the canvas: faults for as long as they last, and the calls of clients.

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
    if (call.outcome === 0 || wide < 4) ctx.fillRect(x0, y, wide > 4 ? wide - 1 : wide, tall);
    else {
      // Not by colour alone: refused is hollow, unknown and open are hatched.
      ctx.lineWidth = 1.2;
      ctx.strokeStyle = colour;
      if (call.outcome !== 1) hatch(ctx, x0, y, wide, tall, colour, 4);
      ctx.strokeRect(x0 + 0.6, y + 0.6, wide - 1.2, tall - 1.2);
    }
    if (wide > 30) {
      if (call.outcome > 1) drawBacking(ctx, call.operation, Math.max(x0, GUTTER) + 2, y + 1, x1 - Math.max(x0, GUTTER) - 6, tall - 2, colours);
      label(ctx, call.operation, Math.max(x0, GUTTER) + 4, y + tall / 2 + 0.5, x1 - Math.max(x0, GUTTER) - 6,
        colours.of(call.outcome === 0 ? '--on-strong' : '--text'), SMALL, [call.operation.split(' ')[0]]);
    }
  }
  ctx.globalAlpha = 1;
}

// A plain ground for a text on a hatched bar.
function drawBacking(ctx, text, x, y, room, tall, colours) {
  const whole = widthOf(ctx, text, SMALL), wide = whole <= room ? whole : widthOf(ctx, text.split(' ')[0], SMALL);
  if (wide > room) return;
  ctx.fillStyle = colours.of('--ground');
  ctx.fillRect(x, y, wide + 4, tall);
}

