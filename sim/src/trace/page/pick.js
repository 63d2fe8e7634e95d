// Picking: what lies under the pointer, and what belongs to what.

const REACH = 6;

// The event under a point of the canvas, or -1.
function pick(view, x, y) {
  const { run, layout } = view;
  if (x < GUTTER) return -1;
  for (const i of run.violations) {
    if (Math.abs(xOf(view, run.time[i]) - x) < 4 || (y < RULER && Math.abs(xOf(view, run.time[i]) + 25 - x) < 30)) return i;
  }
  if (y < layout.faults.y + layout.faults.height) return pickFault(view, x, y);
  if (layout.clients.height && y >= layout.clients.y) return pickCall(view, x, y);
  for (const node of layout.nodes) {
    const top = layout.y.get(node), lane = run.lanes.get(node);
    if (y < top - 12 || y > top + LANE + (view.shown.disk ? 5 : 0)) continue;
    const mark = nearest(view, lane.marks, x);
    if (mark >= 0 && y < top + BAND / 2) return mark;
    if (y < top) continue;
    if (view.shown.disk && y > top + BAND) { const i = nearest(view, lane.disk, x); if (i >= 0) return i; }
    if (view.shown.logs && y > top + BAND - 4) { const i = nearest(view, lane.logs, x); if (i >= 0) return i; }
    if (y <= top + LANE) return stateAt(view, node, tOf(view, x));
  }
  return pickFlight(view, x, y);
}

function nearest(view, rows, x) {
  const { run } = view;
  let best = -1, reach = REACH;
  for (let k = lowerBound(rows, tOf(view, x - REACH), (i) => run.time[i]); k < rows.length; k++) {
    const away = Math.abs(xOf(view, run.time[rows[k]]) - x);
    if (xOf(view, run.time[rows[k]]) > x + REACH) break;
    if (away < reach && isRowShown(view, rows[k])) { best = rows[k]; reach = away; }
  }
  return best;
}

// The newest state, start or end of a node at an instant.
function stateAt(view, node, t) {
  const { run } = view, lane = run.lanes.get(node);
  const state = lane.states[lowerBound(lane.states, t, (i) => run.time[i]) - 1] ?? -1;
  const band = bandAt(lane, t);
  if (!band) return -1;
  return state < 0 || run.time[band.row] > run.time[state] ? band.row : state;
}

function pickFlight(view, x, y) {
  const { run } = view;
  let best = -1, reach = REACH;
  flightsBetween(run, tOf(view, x - REACH), tOf(view, x + REACH), (f) => {
    if (!isFlightShown(view, f)) return;
    const line = lineOf(view, f);
    if (!line) return;
    const away = distance(line, x, y);
    if (away < reach) { best = f; reach = away; }
  });
  return best < 0 ? -1 : run.flights.row[best];
}

function distance({ x0, y0, x1, y1 }, x, y) {
  const dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy;
  const along = square ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / square)) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}

function pickFault(view, x, y) {
  const { run, layout } = view;
  const track = Math.floor((y - layout.faults.y - 2) / TRACK);
  let best = -1;
  for (const fault of run.faults) {
    if (fault.track !== track || !isFaultShown(view, fault)) continue;
    if (x >= xOf(view, fault.t0) - REACH && x <= xOf(view, fault.t1) + REACH) best = fault.row;
  }
  return best;
}

function pickCall(view, x, y) {
  const { run, layout } = view;
  const row = run.clients[Math.floor((y - layout.clients.y - 21 + view.scroll) / CALL)];
  if (!row || y < layout.clients.y + 20) return -1;
  let best = -1;
  for (const call of row.calls) {
    if (view.hidden.outcomes.has(call.outcome)) continue;
    if (x >= xOf(view, call.t0) - 3 && x <= xOf(view, call.t1) + 3) best = call.row;
  }
  return best;
}

// The faults in force between two instants.
function faultsDuring(run, t0, t1) {
  return run.faults.filter((fault) => fault.lasts && fault.t0 <= t1 && fault.t1 >= t0);
}

// What the event followed from, if that can be told; -1 if not.
function causeOf(run, i) {
  const row = run.rows[i], code = row[2];
  if (code === DELIVERED || code === LOST) return run.flightOf[i] >= 0 ? run.flights.row[run.flightOf[i]] : -1;
  if (code === ENDED) { const request = run.requestOf.get(i); return request ? request.row : -1; }
  if (code === CURED) { const fault = run.faultOf.get(i); return fault && fault.row !== i ? fault.row : -1; }
  if (code === SENT) {
    const asked = askedBy(run, i);
    if (asked >= 0) return asked;
  }
  if (code === SENT && /Vote$/.test(run.names[row[5]])) return candidacyOf(run, i);
  return code === SENT || code === STATE ? triggerOf(run, i) : -1;
}

// The change of role by which a candidate asks: its disk may lie between.
function candidacyOf(run, i) {
  const rows = run.lanes.get(run.rows[i][1]).rows;
  for (let k = placeIn(run, rows, i) - 1; k >= 0; k--) {
    const before = run.rows[rows[k]];
    if (before[2] === STATE && before[10] !== null) return rows[k];
  }
  return -1;
}

// What came to the node in the same instant, just before: a message, a call, or its own change of role.
function triggerOf(run, i) {
  const row = run.rows[i], t = run.time[i], rows = run.lanes.get(row[1]).rows;
  for (let k = placeIn(run, rows, i) - 1; k >= 0 && t - run.time[rows[k]] < 1e-6; k--) {
    const before = run.rows[rows[k]];
    if (before[2] === DELIVERED || before[2] === BOOTED || before[2] === CURED) return rows[k];
    if (row[2] === SENT && before[2] === STATE && before[10] !== null) return rows[k];
  }
  const { requests } = run;
  for (let k = lowerBound(requests, t - 1e-6, (call) => call.t0); k < requests.length && requests[k].t0 <= t; k++) {
    if (requests[k].to === row[1]) return requests[k].row;
  }
  return -1;
}

// The arrival of the message that a reply answers: same conversation, same number.
function askedBy(run, i) {
  const row = run.rows[i], name = run.names[row[5]];
  if (!name.endsWith('Reply')) return -1;
  const asked = name.slice(0, -5), wanted = keysOf(row[7]);
  const rows = run.lanes.get(row[1]).rows;
  for (let k = placeIn(run, rows, i) - 1, tries = 0; k >= 0 && tries < 4000; k--, tries++) {
    const before = run.rows[rows[k]];
    if (before[2] !== DELIVERED || run.flightOf[rows[k]] < 0) continue;
    const sent = run.rows[run.flights.row[run.flightOf[rows[k]]]];
    if (sent[1] === row[4] && run.names[sent[5]] === asked && sameKeys(keysOf(sent[7]), wanted)) return rows[k];
  }
  return -1;
}

// The sending of the reply to a message that arrived.
function answerTo(run, f) {
  const { flights } = run, i = flights.row[f], row = run.rows[i];
  const name = run.names[row[5]];
  if (name.endsWith('Reply') || flights.fate[f] !== ARRIVED) return -1;
  const wanted = keysOf(row[7]), rows = run.lanes.get(flights.to[f]).rows;
  for (let k = placeIn(run, rows, flights.end[f]) + 1, tries = 0; k < rows.length && tries < 4000; k++, tries++) {
    const after = run.rows[rows[k]];
    if (after[2] === SENT && after[4] === flights.from[f] && run.names[after[5]] === `${name}Reply` &&
      sameKeys(keysOf(after[7]), wanted)) return rows[k];
  }
  return -1;
}

// The fields that a message and its reply share.
function keysOf(fields) {
  const keys = {};
  for (const part of fields.split(', ')) {
    const found = /^(session|inflight|round|next term|request) (.*)$/.exec(part);
    if (found) keys[found[1]] = found[2];
  }
  return keys;
}

function sameKeys(one, other) {
  return Object.keys(one).every((key) => !(key in other) || one[key] === other[key]);
}

function placeIn(run, rows, i) {
  let k = lowerBound(rows, run.time[i], (other) => run.time[other]);
  while (k < rows.length && rows[k] !== i) k++;
  return k;
}

// The events of the same lane, or of the same client: what j and k walk along.
function companions(run, i) {
  const request = run.requestOf.get(i), row = run.rows[i];
  // A violation that no node owns is about all of them.
  if (row[2] === VIOLATION && row[1] === 0) return Array.from({ length: Math.min(i + 40, run.count) - Math.max(0, i - 200) }, (_, k) => Math.max(0, i - 200) + k);
  if (!request) return run.lanes.get(run.rows[i][1]).rows;
  return run.requests.filter((other) => other.client === request.client).map((other) => other.row);
}

// Calls that a violation speaks of: by number, or else those that share most words with figures in them, such as values,
// keys and clients.
function callsNamed(run, text) {
  const numbers = new Set([...text.matchAll(/(?:^|\s)#(\d+)\b/g)].map(([, number]) => Number(number)));
  const numbered = run.requests.filter((request) => numbers.has(request.number));
  if (numbered.length) return numbered;
  const tokens = [...new Set(text.match(/[\w:-]*[a-z][\w:-]*\d[\w:-]*/gi) || [])];
  if (!tokens.length) return [];
  const scored = [];
  for (const request of run.requests) {
    const words = ` client${request.client} ${request.operation} ${request.answer} `;
    const score = tokens.filter((token) => new RegExp(`(^|[^\\w-])${token.replace(/[^\w-]/g, '\\$&')}($|[^\\w-])`).test(words)).length;
    if (score) scored.push([score, request]);
  }
  const best = Math.max(0, ...scored.map(([score]) => score));
  return scored.filter(([score]) => score === best).map(([, request]) => request);
}

