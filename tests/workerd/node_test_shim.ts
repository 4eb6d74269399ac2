// Stands in for node:test in workerd, whose own has no `test`: the portable tests are bundled with this file in its place.
// Files load inside the handler and not at start-up, because workerd refuses randomness and timers in the global scope.

/** What a test gets as its argument. */
export interface TestContext {
  readonly name: string;
  readonly signal: AbortSignal;
  test: TestFunction;
  skip(message?: string): void;
  todo(message?: string): void;
  diagnostic(message: string): void;
  after(hook: Hook): void;
}

/** Options of a test or a group; `skip` may give the reason. */
export interface TestOptions {
  readonly skip?: boolean | string;
  readonly todo?: boolean | string;
  readonly timeout?: number;
}

type Body = (context: TestContext) => unknown;
type Hook = () => unknown;
type Arguments<F> = [name?: string | TestOptions | F, options?: TestOptions | F, body?: F];
type TestFunction = (...args: Arguments<Body>) => Promise<void>;
type GroupFunction = (...args: Arguments<Hook>) => void;

interface Group {
  readonly name: string;
  readonly parent?: Group;
  readonly before: Hook[];
  readonly after: Hook[];
  readonly beforeEach: Hook[];
  readonly afterEach: Hook[];
  readonly items: (() => Promise<void>)[];
}

interface Definition<F> {
  readonly name: string;
  readonly options: TestOptions;
  readonly body?: F;
}

const DEFAULT_TIMEOUT_MS = 60_000;

const state = { group: newGroup(""), passed: 0, failed: 0, skipped: 0 };

/** Defines a test. */
export const test: TestFunction & { skip: TestFunction; todo: TestFunction } = Object.assign(define(), {
  skip: define({ skip: true }),
  todo: define({ todo: true }),
});

/** Defines a test. */
export const it: typeof test = test;

/** Defines a group of tests. */
export const describe: GroupFunction & { skip: GroupFunction; todo: GroupFunction } = Object.assign(defineGroup(), {
  skip: defineGroup({ skip: true }),
  todo: defineGroup({ todo: true }),
});

/** Defines a group of tests. */
export const suite: typeof describe = describe;

export default test;

/** Runs a hook before the first test of the group. */
export function before(hook: Hook): void {
  state.group.before.push(hook);
}

/** Runs a hook after the last test of the group, whatever happened. */
export function after(hook: Hook): void {
  state.group.after.push(hook);
}

/** Runs a hook before each test of the group and of the groups in it. */
export function beforeEach(hook: Hook): void {
  state.group.beforeEach.push(hook);
}

/** Runs a hook after each test of the group and of the groups in it, whatever happened. */
export function afterEach(hook: Hook): void {
  state.group.afterEach.push(hook);
}

/** Loads and runs each file, prints the tally that tools/lib/suites.ts reads, and throws when a test failed. */
export async function run(files: Readonly<Record<string, () => Promise<unknown>>>): Promise<void> {
  for (const [path, load] of Object.entries(files)) {
    state.group = newGroup(path);
    const file = state.group;
    await attempt(path, load);
    await runGroup(file);
  }
  console.log(`workerd: ${state.passed} passed, ${state.failed} failed, ${state.skipped} skipped`);
  if (state.failed > 0) throw new Error("Some tests failed");
}

function newGroup(name: string, parent?: Group): Group {
  return { name, parent, before: [], after: [], beforeEach: [], afterEach: [], items: [] };
}

function define(preset: TestOptions = {}): TestFunction {
  return (...args) => {
    const definition = read(args, preset);
    const { group } = state;
    group.items.push(async () => void await runTest(group, definition));
    return Promise.resolve();
  };
}

function defineGroup(preset: TestOptions = {}): GroupFunction {
  return (...args) => {
    const { name, options, body } = read(args, preset);
    const outer = state.group;
    const group = newGroup(name, outer);
    outer.items.push(
      isSkipped(options) || !body ? () => Promise.resolve(skip(group, "", options)) : () => runGroup(group),
    );
    if (isSkipped(options)) return;
    state.group = group;
    try {
      body?.();
    } finally {
      state.group = outer;
    }
  };
}

function read<F extends Body | Hook>(args: Arguments<F>, preset: TestOptions): Definition<F> {
  let name = "";
  let options = preset;
  let body: F | undefined;
  for (const arg of args) {
    if (typeof arg === "string") name = arg;
    else if (typeof arg === "function") body = arg;
    else if (arg) options = { ...arg, ...preset };
  }
  return { name: name || body?.name || "(unnamed)", options, body };
}

async function runGroup(group: Group): Promise<void> {
  const path = pathOf(group);
  if (await attempt(`${path} (before)`, () => all(group.before))) {
    for (const item of group.items) await item();
  }
  await attempt(`${path} (after)`, () => all(group.after));
}

// Resolves to whether the test and all its subtests passed.
async function runTest(group: Group, { name, options, body }: Definition<Body>): Promise<boolean> {
  if (isSkipped(options) || !body) {
    skip(group, name, options);
    return true;
  }
  const path = pathOf(group, name);
  const subtests: Promise<boolean>[] = [];
  const cleanups: Hook[] = [];
  const timeoutMs = options.timeout ?? DEFAULT_TIMEOUT_MS;
  const ended = new AbortController();
  const context = newContext(group, name, ended.signal, subtests, cleanups);
  const ok = await attempt(path, async () => {
    try {
      for (const each of lineage(group)) await all(each.beforeEach);
      await within(timeoutMs, async () => {
        await body(context);
        await Promise.all(subtests);
      });
    } finally {
      ended.abort();
      for (const each of lineage(group).reverse()) await all(each.afterEach);
      await all(cleanups);
    }
  });
  const results = await Promise.all(subtests);
  // A test with subtests is counted through them.
  if (ok && results.length === 0) state.passed++;
  return ok && results.every(Boolean);
}

function newContext(
  group: Group,
  name: string,
  signal: AbortSignal,
  subtests: Promise<boolean>[],
  cleanups: Hook[],
): TestContext {
  const inner = newGroup(name, group);
  return {
    name,
    signal,
    test: async (...args) => {
      const result = runTest(inner, read(args, {}));
      subtests.push(result);
      await result;
    },
    skip: (message) => console.log(`  note ${pathOf(inner)}: skipped itself: ${message ?? ""}`),
    todo: (message) => console.log(`  note ${pathOf(inner)}: to do: ${message ?? ""}`),
    diagnostic: (message) => console.log(`  note ${pathOf(inner)}: ${message}`),
    after: (hook) => void cleanups.push(hook),
  };
}

async function attempt(path: string, action: () => unknown): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    state.failed++;
    console.log(`  FAIL ${path}\n${error instanceof Error ? error.stack : String(error)}`);
    return false;
  }
}

async function within(timeoutMs: number, action: () => Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`The test took longer than ${timeoutMs} ms`)), timeoutMs);
  try {
    await Promise.race([action(), promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function all(hooks: readonly Hook[]): Promise<void> {
  for (const hook of hooks) await hook();
}

function skip(group: Group, name: string, { skip, todo }: TestOptions): void {
  state.skipped++;
  const reason = [skip, todo].find((value) => typeof value === "string") ?? "no reason given";
  console.log(`  skip ${pathOf(group, name)}: ${reason}`);
}

function isSkipped({ skip, todo }: TestOptions): boolean {
  return Boolean(skip) || Boolean(todo);
}

function lineage(group: Group): Group[] {
  return group.parent ? [...lineage(group.parent), group] : [group];
}

function pathOf(group: Group, name = ""): string {
  return [...lineage(group).map((each) => each.name), name].filter((part) => part !== "").join(" > ");
}
