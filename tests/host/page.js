// What the browser tests do and read inside ComfyUI's page.

const frame = () => new Promise((done) => requestAnimationFrame(done));

window.dc = {
  graphs: () => [app.graph.rootGraph ?? app.graph, ...app.graph.rootGraph.subgraphs.values()],

  // The node of a kind, in whatever graph it lies.
  node: (kind) => dc.graphs().flatMap((graph) => graph.nodes).find((node) => node.type === kind),

  widget: (kind, name) => dc.node(kind).widgets.find((widget) => widget.name === name),

  // As if ComfyUI's server had sent it.
  async event(name, detail) {
    const { api } = await import("/scripts/api.js");
    api.dispatchEvent(new CustomEvent(name, { detail }));
  },

  // The next run that is queued gets this id, and the server does not hear of it.
  async accept(id) {
    const { api } = await import("/scripts/api.js");
    const { fetchApi } = api;
    api.fetchApi = async (route, ...more) => {
      if (route !== "/prompt") return fetchApi.call(api, route, ...more);
      api.fetchApi = fetchApi;
      return Response.json({ prompt_id: id, number: 0, node_errors: {} });
    };
  },

  // What people can read in a node: the text that is on the page, not the widget's value.
  told(kind) {
    const { element } = dc.widget(kind, "dc_solver_text");
    return element.isConnected && element.offsetHeight > 10 ? element.innerText : "";
  },

  chart: (kind) => dc.widget(kind, "dc_solver_curve").element,

  // As a front end does when a user moves a widget.
  move(kind, name, value) {
    const widget = dc.widget(kind, name);
    widget.value = value;
    widget.callback?.(value);
  },

  // All that is drawn; heights are read off the ticks of the axis, not taken from the chart's code.
  drawn(kind) {
    const chart = dc.chart(kind);
    if (chart.dataset.state !== "curve") return { says: chart.innerText.trim() };
    const ticks = [...chart.querySelectorAll(".dc-tick")].map((tick) => [
      Number(tick.dataset.tick), Number(tick.getAttribute("y")) - 3.5,
    ]);
    if (!ticks.length) return {}; // not on the screen yet
    const [[v0, y0], [v1, y1]] = [ticks[0], ticks.at(-1)];
    const points = [...chart.querySelectorAll(".dc-point")];
    const read = (point) => v0 + ((point.getAttribute("cy") - y0) * (v1 - v0)) / (y1 - y0);
    return {
      values: points.map((point) => Number(point.dataset.value)),
      heights: points.map(read),
      locked: points.filter((point) => point.classList.contains("dc-locked")).length,
      sliders: points.filter((point) => point.getAttribute("role") === "slider").length,
      title: chart.querySelector(".dc-title").textContent,
      warns: [...chart.querySelectorAll(".dc-notes div")].map((note) => note.textContent),
      outside: chart.classList.contains("dc-outside"),
      ranges: [...chart.querySelectorAll(".dc-range")].map((row) => ({ ...row.dataset })),
      reset: !chart.querySelector(".dc-reset").hidden,
    };
  },

  // Milliseconds from a change of a widget to the new curve.
  async latency(kind, name, value) {
    const before = dc.drawn(kind).values.join();
    const start = performance.now();
    dc.move(kind, name, value);
    while (dc.drawn(kind).values.join() === before) await frame();
    return performance.now() - start;
  },

  // Where a point is on the screen.
  spot(kind, index) {
    const point = dc.chart(kind).querySelector(`.dc-point[data-index="${index}"]`);
    const { x, y, width, height } = point.getBoundingClientRect();
    return { x: x + width / 2, y: y + height / 2 };
  },

  // Whether Vue shows the nodes of the graph that is open.
  async isShown() {
    const shown = () => app.canvas.graph.nodes.every(
      (node) => document.querySelector(`[data-node-id="${node.id}"]`),
    );
    for (let k = 0; k < 60 && !shown(); k += 1) await frame();
    return shown();
  },

  history() {
    const { undoQueue, redoQueue } = app.extensionManager.workflow.activeWorkflow.changeTracker;
    return [undoQueue.length, redoQueue.length];
  },

  record: () => app.extensionManager.workflow.activeWorkflow.changeTracker.checkState(),

  prompt: async () => (await app.graphToPrompt()).output,

  add(kind, x, y, width) {
    const node = LiteGraph.createNode(kind);
    app.graph.add(node);
    node.pos = [x, y];
    if (width) node.setSize([width, node.size[1]]);
    return node;
  },

  // With the node of a kind at the top left.
  view(scale, kind) {
    const [x, y] = kind ? dc.node(kind).pos : [0, 0];
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [120 / scale - x, 120 / scale - y];
    app.canvas.setDirty(true, true);
  },

  // Through the workflow format, as a user would open it.
  async open(build) {
    app.graph.clear();
    build();
    await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())));
    dc.view(1);
  },

  pair: (file, width) => dc.open(() => {
    const load = dc.add("DCSolverLoadRatios", 40, 60, width);
    load.widgets.find((widget) => widget.name === "file").value = file;
    load.connect(1, dc.add("DCSolverPredictRatios", (width ?? 360) + 100, 60, width), 0);
  }),

  // How far a chart reaches below its node on the canvas, in pixels.
  below: (kind) => {
    const { pos, size } = dc.node(kind);
    const { ds, canvas } = app.canvas;
    const bottom = canvas.getBoundingClientRect().top + (pos[1] + size[1] + ds.offset[1]) * ds.scale;
    return dc.chart(kind).getBoundingClientRect().bottom - bottom;
  },

  lone: (file) => dc.open(() => {
    const load = dc.add("DCSolverLoadRatios", 40, 60);
    load.widgets.find((widget) => widget.name === "file").value = file;
  }),

  // As another tab and back, or an undo, does.
  again: async () =>
    app.loadGraphData(
      JSON.parse(JSON.stringify(app.graph.rootGraph?.serialize() ?? app.graph.serialize())),
      true, true, app.extensionManager.workflow.activeWorkflow,
    ),

  reopen: async () =>
    app.loadGraphData(JSON.parse(JSON.stringify(app.graph.rootGraph.serialize()))),
};
