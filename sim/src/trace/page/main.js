// The page: reads the run, ties the parts together, and listens.

(() => {
  const started = performance.now();
  const $ = (id) => document.getElementById(id);
  const run = readRun(JSON.parse($('run').textContent));
  const view = makeView(run);
  const lanes = $('lanes'), strip = $('strip'), tip = $('tip');
  const ctx = lanes.getContext('2d', { alpha: false }), stripCtx = strip.getContext('2d', { alpha: false });
  const backdrop = document.createElement('canvas');
  const app = { view, colours: readColours(), select, jump, refilter, showAll };
  let isDirty = false;

  function refresh() {
    if (isDirty) return;
    isDirty = true;
    requestAnimationFrame(() => { isDirty = false; paint(); });
  }

  function paint() {
    const ratio = window.devicePixelRatio || 1;
    arrange(view);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw(ctx, view, app.colours);
    stripCtx.setTransform(1, 0, 0, 1, 0, 0);
    stripCtx.drawImage(backdrop, 0, 0);
    stripCtx.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawWindow(stripCtx, view, app.colours);
    $('range').textContent = `${seconds(Math.max(view.t0, run.start), 3)} to ${seconds(Math.min(view.t0 + view.span, run.end), 3)}`;
  }

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    const fit = (canvas, width, height) => {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    };
    const { clientWidth: width, clientHeight: height } = $('stage');
    if (view.width === width && view.height === height && view.stripWidth === strip.clientWidth && ratio === view.ratio) return;
    Object.assign(view, { width, height, ratio });
    fit(lanes, view.width, view.height);
    view.stripWidth = strip.clientWidth;
    fit(strip, view.stripWidth, STRIP.height);
    fit(backdrop, view.stripWidth, STRIP.height);
    backdropPaint(ratio);
    // At once: a canvas that was resized is empty.
    paint();
  }

  function backdropPaint(ratio = window.devicePixelRatio || 1) {
    const back = backdrop.getContext('2d');
    back.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawStrip(back, view, app.colours);
  }

  function select(i) {
    view.selected = i;
    showDetails(app);
    if (i >= 0) $('panel').scrollTop = 0;
    refresh();
  }

  // Selects an event and brings it into sight.
  function jump(i) {
    if (i < 0) return;
    reveal(view, run.time[i]);
    const k = run.clients.findIndex((client) => client.calls.includes(run.requestOf.get(i)));
    if (k >= 0) view.scroll = Math.max(0, k * CALL - view.layout.clients.height / 2);
    select(i);
  }

  function refilter() {
    showFilters(app);
    if (view.words.length) find($('search').value);
    if (view.selected >= 0) showDetails(app);
    refresh();
  }

  function showAll() {
    Object.values(view.hidden).forEach((set) => set.clear());
    refilter();
  }

  function find(text) {
    search(view, text);
    const count = view.found.filter((i) => isRowShown(view, i)).length;
    $('found').textContent = view.words.length ? count.toLocaleString('en') : '';
    refresh();
  }

  function step(rows, from, direction, isWanted = () => true) {
    const t = from >= 0 ? run.time[from] : view.t0 + (direction > 0 ? 0 : view.span);
    let k = from >= 0 ? rows.indexOf(from) : -1;
    if (k < 0) k = lowerBound(rows, t, (i) => run.time[i]) - (direction > 0 ? 1 : 0);
    for (k += direction; k >= 0 && k < rows.length; k += direction) if (isWanted(rows[k])) return jump(rows[k]);
  }

  const isShown = (i) => isRowShown(view, i);
  const nextFound = (direction) => step(view.found, view.selected, direction, isShown);

  function toViolation() {
    if (!run.violations.length) return;
    lookAtViolation(view);
    select(run.violations[0]);
  }

  function header() {
    const { about } = run;
    document.title = `Quorate ${about.simulator} seed ${about.seed}`;
    $('title').replaceChildren(element('span', {}, 'Quorate'), ` ${about.simulator || 'run'}, seed ${about.seed}`);
    const verdict = $('verdict');
    const text = about.violation || (run.violations.length ? run.rows[run.violations[0]][3] : '');
    verdict.textContent = text ? `violation: ${text}` : 'no violation';
    verdict.title = text ? `${text}\nClick to go there (v)` : 'Every judge was content';
    verdict.className = text ? 'bad' : 'good';
    verdict.disabled = !run.violations.length;
    document.body.classList.toggle('violated', Boolean(text));
    const faults = Object.values(about.faults).reduce((sum, count) => sum + count, 0) || run.faults.length;
    $('facts').textContent = [
      `${seconds(run.end, 1)} simulated`, counted(run.nodes.length, 'node'), counted(run.flights.n, 'message'),
      counted(run.leaders.length, 'election') + ' won', faults ? counted(faults, 'fault') : '',
    ].filter(Boolean).join(' · ');
  }

  function pointer(event) {
    const box = lanes.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function hover(x, y) {
    const i = pick(view, x, y);
    lanes.style.cursor = i >= 0 ? 'pointer' : 'grab';
    if (i !== view.hover) { view.hover = i; refresh(); }
    tip.hidden = i < 0;
    if (i < 0) return;
    const [name, text] = say(run, i);
    tip.replaceChildren(element('b', {}, name), element('time', {}, `${nodeName(run.rows[i][1])} · ${seconds(run.time[i])}`), element('span', {}, text));
    const left = Math.min(x + 14, view.width - tip.offsetWidth - 8);
    const below = y + 18 + tip.offsetHeight < view.height;
    tip.style.transform = `translate(${Math.max(4, left)}px, ${below ? y + 18 : y - tip.offsetHeight - 12}px)`;
  }

  function listenToLanes() {
    let from = null, moved = 0;
    const touches = new Map();
    lanes.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      lanes.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, pointer(event));
      from = pointer(event);
      moved = 0;
    });
    lanes.addEventListener('pointermove', (event) => {
      const at = pointer(event);
      if (!touches.has(event.pointerId)) return hover(...at);
      const before = touches.get(event.pointerId);
      touches.set(event.pointerId, at);
      if (touches.size === 2) {
        const other = [...touches.entries()].find(([id]) => id !== event.pointerId)[1];
        const was = Math.abs(before[0] - other[0]), is = Math.abs(at[0] - other[0]);
        if (was > 10 && is > 10) zoom(view, was / is, (at[0] + other[0]) / 2);
      } else {
        pan(view, before[0] - at[0]);
        if (from[1] > view.layout.clients.y) view.scroll += before[1] - at[1];
      }
      moved += Math.abs(at[0] - before[0]) + Math.abs(at[1] - before[1]);
      if (moved > 4) { tip.hidden = true; lanes.style.cursor = 'grabbing'; }
      refresh();
    });
    const release = (event) => {
      if (touches.delete(event.pointerId) && moved <= 4 && event.type === 'pointerup') select(pick(view, ...pointer(event)));
      lanes.style.cursor = 'grab';
    };
    lanes.addEventListener('pointerup', release);
    lanes.addEventListener('pointercancel', release);
    lanes.addEventListener('pointerleave', () => { tip.hidden = true; if (view.hover >= 0) { view.hover = -1; refresh(); } });
    lanes.addEventListener('dblclick', (event) => { zoom(view, 0.4, pointer(event)[0]); refresh(); });
    lanes.addEventListener('wheel', (event) => {
      event.preventDefault();
      const scale = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 200 : 1, [x, y] = pointer(event);
      const { clients } = view.layout;
      if (event.ctrlKey || event.metaKey) zoom(view, Math.exp(event.deltaY * scale * (Math.abs(event.deltaY) < 20 ? 0.012 : 0.0025)), x);
      else if (y > clients.y && clients.rows > clients.height && !event.shiftKey && Math.abs(event.deltaY) > Math.abs(event.deltaX)) view.scroll += event.deltaY * scale;
      else pan(view, (event.deltaX + event.deltaY) * scale);
      tip.hidden = true;
      refresh();
    }, { passive: false });
  }

  function listenToStrip() {
    let grip = null;
    const at = (event) => stripT(view, event.clientX - strip.getBoundingClientRect().left);
    strip.addEventListener('pointerdown', (event) => {
      strip.setPointerCapture(event.pointerId);
      const t = at(event), isInside = t >= view.t0 && t <= view.t0 + view.span;
      grip = isInside ? t - view.t0 : view.span / 2;
      view.t0 = t - grip;
      settle(view);
      refresh();
    });
    strip.addEventListener('pointermove', (event) => {
      if (grip === null) return;
      view.t0 = at(event) - grip;
      settle(view);
      refresh();
    });
    const end = () => { grip = null; };
    strip.addEventListener('pointerup', end);
    strip.addEventListener('pointercancel', end);
    strip.addEventListener('wheel', (event) => {
      event.preventDefault();
      zoom(view, Math.exp(event.deltaY * 0.0025), xOf(view, at(event)));
      refresh();
    }, { passive: false });
  }

  const KEYS = {
    ArrowLeft: () => pan(view, -view.width * 0.2), ArrowRight: () => pan(view, view.width * 0.2),
    ArrowUp: () => { view.scroll -= 2 * CALL; }, ArrowDown: () => { view.scroll += 2 * CALL; },
    '+': () => zoom(view, 0.6), '=': () => zoom(view, 0.6), '-': () => zoom(view, 1 / 0.6), '−': () => zoom(view, 1 / 0.6),
    0: () => lookAt(view, run.start, run.end), f: () => lookAt(view, run.start, run.end),
    Home: () => { view.t0 = run.start; settle(view); }, End: () => { view.t0 = run.end; settle(view); },
    j: () => view.selected >= 0 && step(companions(run, view.selected), view.selected, 1, isShown),
    k: () => view.selected >= 0 && step(companions(run, view.selected), view.selected, -1, isShown),
    c: () => view.selected >= 0 && jump(causeOf(run, view.selected)),
    v: toViolation,
    l: () => step(run.leaders, view.selected, 1), L: () => step(run.leaders, view.selected, -1),
    d: () => { view.shown.disk = !view.shown.disk; refilter(); }, g: () => { view.shown.logs = !view.shown.logs; refilter(); },
    p: () => { document.body.classList.toggle('folded'); resize(); },
    Escape: () => select(-1),
    '?': () => $('help').showModal(),
    '/': () => $('search').focus(),
  };

  function listenToKeys() {
    document.addEventListener('keydown', (event) => {
      if ($('help').open || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target === $('search')) {
        if (event.key === 'Enter') nextFound(event.shiftKey ? -1 : 1);
        else if (event.key === 'Escape') { $('search').value = ''; find(''); lanes.focus(); }
        return;
      }
      const action = KEYS[event.key];
      if (!action) return;
      event.preventDefault();
      action();
      refresh();
    });
    const click = (id, action) => $(id).addEventListener('click', () => { action(); refresh(); });
    click('zoom-in', KEYS['+']); click('zoom-out', KEYS['-']); click('fit', KEYS[0]); click('fold', KEYS.p); click('ask', KEYS['?']);
    click('verdict', toViolation); click('found-next', () => nextFound(1)); click('found-before', () => nextFound(-1));
    let waiting = 0;
    $('search').addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(() => find($('search').value), 120); });
  }

  // `#t=1.2..3.4&e=567&q=words`: a place in the run, to be passed on with the file.
  function goToPlace() {
    const place = new URLSearchParams(location.hash.slice(1));
    const span = /^([\d.]+?)\.\.([\d.]+)$/.exec(place.get('t') || '');
    if (span) lookAt(view, span[1] * 1000, span[2] * 1000);
    if (place.has('q')) { $('search').value = place.get('q'); find(place.get('q')); }
    if (place.has('e')) { if (span) select(Number(place.get('e'))); else jump(Number(place.get('e'))); }
    else if (run.violations.length && !span) select(run.violations[0]);
    refresh();
  }

  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    app.colours = readColours();
    showFilters(app);
    showDetails(app);
    backdropPaint();
    refresh();
  });
  header();
  showFilters(app);
  showSummary(app);
  showDetails(app);
  view.width = $('stage').clientWidth || 1000;
  view.height = $('stage').clientHeight || 600;
  firstLook(view);
  resize();
  goToPlace();
  window.addEventListener('hashchange', goToPlace);
  new ResizeObserver(resize).observe($('stage'));
  listenToLanes();
  listenToStrip();
  listenToKeys();
  window.quorate = { app, paint, pan, zoom, lookAt, opened: performance.now() - started };
})();
