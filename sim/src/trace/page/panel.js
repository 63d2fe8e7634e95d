// The panel: all fields of what is selected, filters that are the legend too, and what the run was.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name === 'class') made.className = value;
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function table(pairs) {
  const list = element('dl', { class: 'fields' });
  for (const [name, value] of pairs) if (value !== null && value !== undefined && value !== '') {
    list.append(element('dt', {}, name), element('dd', {}, value));
  }
  return list;
}

function swatch(colour, shape = '') {
  return element('i', { class: `swatch ${shape}`, style: `--c:${colour}`, 'aria-hidden': 'true' });
}

// `app` has the view, the colours and `select`, `refresh`, `jump`.
function showDetails(app) {
  const { view } = app, { run } = view, i = view.selected, place = document.getElementById('details');
  place.replaceChildren();
  if (i < 0) {
    place.append(element('p', { class: 'hint' }, 'Click a line, a lane, a fault or a call to see all that is known of it.'));
    return;
  }
  const row = run.rows[i], [name, text] = say(run, i);
  const title = element('h2', {}, swatch(colourOf(app, i)), name,
    element('button', { class: 'close', title: 'Select nothing (Esc)', onclick: () => app.select(-1) }, '×'));
  place.append(title);
  const f = run.flightOf[i];
  if (f >= 0) showFlight(app, place, f);
  else if (row[2] === STATE) showState(app, place, i);
  else if (run.requestOf.get(i)) showCall(app, place, run.requestOf.get(i));
  else if (run.faultOf.get(i)) showFault(app, place, run.faultOf.get(i));
  else {
    place.append(table([['at', link(app, i, seconds(run.time[i]))], ['on', row[1] > 0 ? nodeName(row[1]) : '']]));
    if (text) place.append(element('p', { class: row[2] === VIOLATION ? 'text red' : 'text' }, text));
    if (row[2] === VIOLATION) showNamed(app, place, row[3]);
  }
  const cause = causeOf(run, i);
  if (cause >= 0 && f < 0) place.append(element('h3', {}, 'Follows'), entry(app, cause, i));
  showAround(app, place, i);
}

function colourOf(app, i) {
  const { run } = app.view, row = run.rows[i], f = run.flightOf[i];
  if (f >= 0) return app.colours.type(run.types[run.flights.type[f]]);
  switch (row[2]) {
    case STATE: return app.colours.role(run.names[row[3]]);
    case DOWN: return app.colours.of('--down-hatch');
    case BOOTED: return app.colours.role('starting');
    case FAULT: case CURED: return app.colours.of('--fault');
    case DISK: return app.colours.of('--disk');
    case LOG: return app.colours.of('--log');
    case VIOLATION: return app.colours.of('--violation');
  }
  const request = run.requestOf.get(i);
  return request ? app.colours.outcome(request.outcome) : app.colours.of('--dim');
}

function link(app, i, text) {
  return element('button', { class: 'link', onclick: () => app.jump(i) }, text);
}

// `key value, key value, words` as a table.
function fieldsOf(text) {
  return text.split(', ').filter(Boolean).map((part) => {
    const found = /^(prev|last|next term|commit|round|session|inflight|matched|rejected prev|hint|stored by all|request|read at|entry|entries) (.*)$/.exec(part);
    return found ? [found[1], found[2]] : ['', part];
  });
}

function showFlight(app, place, f) {
  const { view } = app, { run } = view, { flights } = run;
  const sent = flights.row[f], row = run.rows[sent], end = flights.end[f];
  const took = run.time[end] - run.time[sent];
  const fate = flights.fate[f] === ARRIVED ? link(app, end, `${seconds(run.time[end])}, after ${duration(took)}`)
    : flights.fate[f] === GONE ? `never: ${run.names[run.rows[end][4]]}` : 'still under way at the end';
  place.append(table([
    ['from', link(app, stateAt(view, flights.from[f], run.time[sent] + 1e-9), standing(run, view, flights.from[f], run.time[sent]))],
    ['to', link(app, stateAt(view, flights.to[f], run.time[Math.max(end, sent)] + 1e-9), standing(run, view, flights.to[f], run.time[Math.max(end, sent)]))],
    ['sent', link(app, sent, seconds(run.time[sent]))],
    ['arrived', fate],
    ['term', String(row[6])],
    ...fieldsOf(row[7]).map(([name, value]) => [name || '\u00a0', value]),
    ['number', `#${row[3]}`],
  ]));
  const during = faultsDuring(run, run.time[sent], flights.t1[f]);
  if (flights.fate[f] === GONE && during.length) {
    place.append(element('h3', {}, 'In force when it left'), ...during.slice(0, 6).map((fault) => entry(app, fault.row, sent)));
  }
  const cause = causeOf(run, sent), answer = answerTo(run, f);
  if (cause >= 0) place.append(element('h3', {}, row && run.names[row[5]].endsWith('Reply') ? 'Answers' : 'Follows'), entry(app, cause, sent));
  if (answer >= 0) place.append(element('h3', {}, 'Answered by'), entry(app, answer, sent));
}

function standing(run, view, node, t) {
  const band = bandAt(run.lanes.get(node), t);
  return nodeName(node) + (band ? `, ${band.role}${band.term ? ` of term ${band.term}` : ''}` : '');
}

function showState(app, place, i) {
  const { run } = app.view, row = run.rows[i];
  place.append(table([
    ['at', link(app, i, seconds(run.time[i]))], ['on', nodeName(row[1])], ['term', String(row[4])],
    ['leader', row[5] === null ? 'unknown' : nodeName(row[5])],
    ['last', String(row[6])], ['persisted', String(row[7])], ['commit', String(row[8])], ['applied', String(row[9])],
    ['why', row[10] === null ? '' : run.names[row[10]]],
  ]));
}

function showCall(app, place, call) {
  const { run } = app.view;
  place.append(table([
    ['asks', call.operation], ['of', call.to > 0 ? nodeName(call.to) : 'whichever node the library chose'],
    ['from', link(app, call.row, seconds(call.t0))],
    ['until', call.end < 0 ? 'never answered' : link(app, call.end, `${seconds(call.t1)}, after ${duration(call.t1 - call.t0)}`)],
    ['outcome', OUTCOMES[call.outcome]], ['answer', call.answer],
  ]));
  const cause = call.to > 0 ? stateAt(app.view, call.to, call.t0 + 1e-9) : -1;
  if (cause >= 0) place.append(element('h3', {}, 'The node then'), entry(app, cause, call.row));
}

function showFault(app, place, fault) {
  place.append(table([
    ['what', fault.text], ['on', nodeName(fault.node)],
    ['from', link(app, fault.row, seconds(fault.t0))],
    ['until', !fault.lasts ? '' : fault.end < 0 ? 'the end' : link(app, fault.end, `${seconds(fault.t1)}, after ${duration(fault.t1 - fault.t0)}`)],
  ]));
}

// Calls and terms that a violation names.
function showNamed(app, place, text) {
  const { run } = app.view;
  const calls = callsNamed(run, text);
  if (calls.length) {
    place.append(element('h3', {}, 'Calls it speaks of'), ...calls.slice(-12).map((call) => entry(app, call.row, app.view.selected)));
  }
  const term = /term (\d+)/.exec(text);
  const leaders = term ? run.leaders.filter((i) => run.rows[i][4] === Number(term[1])) : [];
  if (leaders.length) {
    place.append(element('h3', {}, `Leaders of term ${term[1]}`), ...leaders.map((i) => entry(app, i, app.view.selected)));
  }
}

// An event in one line that leads to it; it names its node where events of several stand together.
function entry(app, i, from, isNodeNamed = false) {
  const { run } = app.view, [kind, text] = say(run, i), node = run.rows[i][1];
  const name = isNodeNamed && node > 0 ? `${node}: ${kind}` : kind;
  const away = run.time[i] - run.time[from];
  return element('button', {
    class: i === app.view.selected ? 'entry here' : 'entry', title: `${nodeName(node)}, ${seconds(run.time[i])}: ${kind} ${text}`,
    onclick: () => app.jump(i),
  }, swatch(colourOf(app, i), run.rows[i][2] === SENT ? 'out' : run.rows[i][2] === DELIVERED ? 'in' : ''),
  element('b', {}, name), element('span', {}, text), element('time', {}, i === from ? '' : away === 0 ? '±0' : (away < 0 ? '−' : '+') + duration(Math.abs(away))));
}

// What happened on the same lane just before and after.
function showAround(app, place, i) {
  const { view } = app, { run } = view, rows = companions(run, i), at = placeIn(run, rows, i);
  const before = [], after = [];
  const isViolation = run.rows[i][2] === VIOLATION;
  for (let k = at - 1; k >= 0 && before.length < (isViolation ? 14 : 7); k--) {
    // What is known to be lost only since the run is over did not lead to its violation.
    if (isRowShown(view, rows[k]) && !(isViolation && run.rows[rows[k]][2] === LOST)) before.unshift(rows[k]);
  }
  for (let k = at + 1; k < rows.length && after.length < 7; k++) if (isRowShown(view, rows[k])) after.push(rows[k]);
  const request = run.requestOf.get(i);
  const isOfAll = isViolation && run.rows[i][1] === 0;
  const whose = isOfAll ? 'all nodes' : request ? `client ${request.client}` : run.rows[i][1] > 0 ? nodeName(run.rows[i][1]) : 'the world';
  place.append(element('h3', {}, `Around it on ${whose}`),
    element('div', { class: 'around' }, ...[...before, i, ...after].map((other) => entry(app, other, i, isOfAll))));
}

// Filters. A click switches one, a double click shows it alone, and all again if it was alone.
function showFilters(app) {
  const { view, colours } = app, { run, hidden, shown } = view, place = document.getElementById('filters');
  const group = (title, set, items) => {
    if (!items.length) return null;
    const chips = items.map(([key, text, mark, count]) => element('button', {
      class: 'chip', 'aria-pressed': String(!set.has(key)),
      onclick: () => { if (!set.delete(key)) set.add(key); app.refilter(); },
      ondblclick: () => {
        const alone = items.every(([other]) => (other === key) !== set.has(other));
        set.clear();
        if (!alone) items.forEach(([other]) => { if (other !== key) set.add(other); });
        app.refilter();
      },
    }, mark, text, count === undefined ? null : element('small', {}, count.toLocaleString('en'))));
    return element('div', { class: 'group' }, element('h3', {}, title), ...chips);
  };
  const counts = new Uint32Array(run.types.length);
  for (const type of run.flights.type) counts[type]++;
  const kindCounts = {};
  for (const fault of run.faults) kindCounts[fault.kind] = (kindCounts[fault.kind] || 0) + 1;
  const outcomes = [0, 0, 0, 0];
  for (const call of run.requests) outcomes[call.outcome]++;
  const order = Object.keys(TYPE_COLOURS);
  const types = run.types.map((name, k) => [k, name, swatch(colours.type(name), name.endsWith('Reply') ? 'thin' : 'line'), counts[k]])
    .sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1]));
  const extra = (name, text, colour) => element('button', {
    class: 'chip', 'aria-pressed': String(shown[name]), onclick: () => { shown[name] = !shown[name]; app.refilter(); },
  }, swatch(colours.of(colour), 'tick'), text, element('small', {}, [...run.lanes.values()].reduce((sum, lane) => sum + lane[name].length, 0).toLocaleString('en')));
  const roles = ['leader', 'follower', 'candidate', 'pre-candidate', 'learner', 'starting', 'down']
    .filter((role) => [...run.lanes.values()].some((lane) => lane.bands.some((band) => band.role === role)));
  place.replaceChildren(
    element('h2', {}, 'Shown', element('button', { class: 'link right', onclick: () => app.showAll() }, 'all')),
    group('Messages', hidden.types, types) || '',
    group('Nodes', hidden.nodes, run.nodes.map((node) => [node, nodeName(node), null])) || '',
    group('Faults', hidden.faults, run.kinds.map((kind) => [kind, kind, swatch(colours.of('--fault'), 'diamond'), kindCounts[kind]])) || '',
    group('Calls', hidden.outcomes, [0, 1, 2, 3].filter((k) => outcomes[k])
      .map((k) => [k, OUTCOMES[k], swatch(colours.outcome(k), k === 0 ? '' : k === 1 ? 'hollow' : 'hatched'), outcomes[k]])) || '',
    element('div', { class: 'group' }, element('h3', {}, 'On the lanes'), extra('disk', 'disk calls', '--disk'), extra('logs', 'log lines', '--log')),
    element('div', { class: 'group legend' }, element('h3', {}, 'Roles'),
      ...roles.map((role) => element('span', {}, role === 'down' ? swatch(colours.of('--down-hatch'), 'hatched') : swatch(colours.role(role)), role)),
      element('span', {}, swatch(colours.of('--lost'), 'cross'), 'lost')),
  );
}

function showSummary(app) {
  const { run } = app.view, { about } = run, place = document.getElementById('summary');
  const figures = (counters) => Object.entries(counters || {}).map(([name, count]) => [name, count.toLocaleString('en')]);
  place.replaceChildren(
    element('h2', {}, 'The run'),
    table([['simulator', about.simulator], ['seed', about.seed], ['hash', about.hash], ['events', run.count.toLocaleString('en')],
      ['not shown', about.let_go ? `${about.let_go.toLocaleString('en')} older ones` : '']]),
    about.command ? element('code', { class: 'command', title: 'Click to copy', onclick: () => navigator.clipboard && navigator.clipboard.writeText(about.command) }, about.command) : '',
  );
  if (Object.keys(about.faults).length) place.append(element('h3', {}, 'Faults'), table(figures(about.faults)));
  if (Object.keys(about.counters).length) place.append(element('h3', {}, 'Counters'), table(figures(about.counters)));
}

