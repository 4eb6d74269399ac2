import { ahead } from "../../src/broker/ahead.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

/** Lets go on whatever can. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
}

/** Items that come when a test says so. */
function sourceOf() {
  const waiting: { readonly give: (next: IteratorResult<number>) => void; readonly fail: (error: unknown) => void }[] =
    [];
  const state = { asked: 0, returned: 0 };
  const iterator: AsyncIterator<number> = {
    next() {
      state.asked++;
      return new Promise((give, fail) => waiting.push({ give, fail }));
    },
    return() {
      state.returned++;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  const first = async () => {
    await turns();
    const one = waiting.shift();
    assert.ok(one, "nobody asks for an item");
    return one;
  };
  return {
    iterator,
    state,
    async give(...items: readonly number[]) {
      for (const value of items) (await first()).give({ done: false, value });
      await turns();
    },
    async end() {
      (await first()).give({ done: true, value: undefined });
      await turns();
    },
    async fail(error: unknown) {
      (await first()).fail(error);
      await turns();
    },
  };
}

/** Work that ends when a test says so. */
function work() {
  const begun: number[] = [];
  const givenBack: number[] = [];
  const ends = new Map<number, (result: string) => void>();
  return {
    begun,
    givenBack,
    end: (item: number) => ends.get(item)!(`r${item}`),
    options: {
      begin(item: number): Promise<string> {
        begun.push(item);
        return new Promise((resolve) => ends.set(item, resolve));
      },
      giveBack: (item: number) => void givenBack.push(item),
      most: () => 3,
    },
  };
}

const at = (begin: (item: number) => Promise<string> = (item) => Promise.resolve(`r${item}`)) => {
  const givenBack: number[] = [];
  return { givenBack, options: { begin, giveBack: (item: number) => void givenBack.push(item), most: () => 3 } };
};

test("ahead() begins nothing before it is asked", async () => {
  const source = sourceOf();
  ahead(source.iterator, work().options);
  await turns();
  assert.equal(source.state.asked, 0);
});

test("ahead() gives results in the order of the items, whichever is done with first", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1, 2, 3);
  assert.deepEqual(it.begun, [1, 2, 3]);
  for (const item of [3, 2, 1]) it.end(item);
  assert.deepEqual([await first, await line.next(), await line.next()], ["r1", "r2", "r3"]);
  assert.deepEqual(it.givenBack, []);
});

test("ahead() begins as many as it may before they are asked for, and no more", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1, 2, 3, 4); // the first was asked for
  assert.deepEqual(it.begun, [1, 2, 3, 4]);
  assert.equal(source.state.asked, 4, "no item is taken that cannot be begun");
  it.end(1);
  await first;
  await turns();
  assert.equal(source.state.asked, 4, "nobody has asked for the second");
  it.end(2);
  assert.equal(await line.next(), "r2");
  await source.give(5);
  assert.deepEqual([it.begun, source.state.asked], [[1, 2, 3, 4, 5], 5]);
});

test("ahead() gives the results of before, then that the source ended, and that again", async () => {
  const [source, it] = [sourceOf(), at()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1, 2);
  await source.end();
  assert.deepEqual([await first, await line.next(), await line.next(), await line.next()], [
    "r1",
    "r2",
    undefined,
    undefined,
  ]);
  assert.deepEqual([it.givenBack, source.state.returned], [[], 0]);
});

test("ahead() wakes who waits when the source ends, or fails", async () => {
  const [ending, failing] = [sourceOf(), sourceOf()];
  const end = ahead(ending.iterator, at().options).next();
  await ending.end();
  assert.equal(await end, undefined);
  const failure = new Error("on purpose");
  const rejected = assert.rejects(ahead(failing.iterator, at().options).next(), failure);
  await failing.fail(failure);
  await rejected;
});

test("ahead() gives the results of before, then why the source failed, once", async () => {
  const [source, it] = [sourceOf(), at()];
  const failure = new Error("on purpose");
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1, 2);
  await source.fail(failure);
  assert.deepEqual([await first, await line.next()], ["r1", "r2"]);
  await assert.rejects(line.next(), failure);
  assert.equal(await line.next(), undefined);
  assert.deepEqual(it.givenBack, []);
});

test("ahead() tells of a failure that is no error", async () => {
  const source = sourceOf();
  const line = ahead(source.iterator, at().options);
  const rejected = line.next().then(() => "given", (error) => ({ error }));
  await source.fail(undefined);
  assert.deepEqual(await rejected, { error: undefined });
});

test("Ahead.stop() gives back what was begun and not asked for, each once, and does not end the source", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1, 2, 3, 4);
  line.stop();
  line.stop();
  assert.deepEqual(it.givenBack, [2, 3, 4]);
  it.end(1);
  assert.equal(await first, "r1", "who asked for it has it");
  assert.equal(await line.next(), undefined);
  await turns();
  assert.equal(source.state.returned, 0, "what is out can still be acknowledged");
  assert.deepEqual(it.givenBack, [2, 3, 4]);
});

test("Ahead.stop() gives back an item that comes afterwards, and asks for no more", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await source.give(1);
  it.end(1);
  await first;
  line.stop();
  assert.deepEqual([it.givenBack, source.state.returned], [[], 0]);
  await source.give(2);
  assert.deepEqual([it.begun, it.givenBack], [[1], [2]]);
  assert.deepEqual(source.state, { asked: 2, returned: 0 });
  assert.equal(await line.next(), undefined);
});

test("Ahead.stop() wakes who waits", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  const first = line.next();
  await turns();
  line.stop();
  assert.equal(await first, undefined);
  await source.end();
  assert.deepEqual([it.begun, it.givenBack], [[], []]);
});

test("Ahead.stop() before anything asks for nothing", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, it.options);
  line.stop();
  assert.equal(await line.next(), undefined);
  await turns();
  assert.deepEqual([source.state.asked, it.givenBack], [0, []]);
});

test("Ahead.stop() wakes who waits also where an item cannot be given back", async () => {
  const source = sourceOf();
  const failure = new Error("on purpose");
  const line = ahead(source.iterator, {
    begin: () => Promise.resolve("r"),
    giveBack() {
      throw failure;
    },
    most: () => 3,
  });
  await Promise.all([line.next(), source.give(1, 2)]);
  assert.throws(() => line.stop(), failure);
  assert.equal(await line.next(), undefined);
});

test("ahead() fetches only what is asked for where nothing may be begun before", async () => {
  const [source, it] = [sourceOf(), work()];
  const line = ahead(source.iterator, { ...it.options, most: () => 0 });
  const first = line.next();
  await source.give(1);
  it.end(1);
  assert.equal(await first, "r1");
  await turns();
  assert.deepEqual([it.begun, source.state.asked], [[1], 1]);
  const second = line.next();
  await source.give(2);
  it.end(2);
  assert.equal(await second, "r2");
});

test("ahead() gives each item as a result or back, once and in order, whenever it is stopped", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 12 }),
      fc.integer({ min: 0, max: 14 }),
      fc.integer({ min: 1, max: 5 }),
      fc.boolean(),
      async (count, reads, most, fails) => {
        let taken = 0;
        const failure = new Error("on purpose");
        const source: AsyncIterator<number> = {
          next: () => {
            if (taken < count) return Promise.resolve({ done: false, value: ++taken });
            return fails ? Promise.reject(failure) : Promise.resolve({ done: true, value: undefined });
          },
        };
        const back: number[] = [];
        let out = 0;
        const line = ahead(source, {
          begin: (item) => {
            assert.ok(++out <= most + 1);
            return Promise.resolve(item);
          },
          giveBack: (item) => back.push(item),
          most: () => most,
        });
        const got: number[] = [];
        for (let read = 0; read < reads; read++) {
          const next = await line.next().catch((error) => assert.equal(error, failure));
          if (next === undefined) continue;
          got.push(next);
          out--;
        }
        line.stop();
        await turns();
        assert.equal(await line.next().catch(() => undefined), undefined);
        const all = [...got, ...back];
        assert.deepEqual(all, Array.from({ length: taken }, (_, index) => index + 1));
        assert.equal(got.length, Math.min(reads, count));
      },
    ),
    { numRuns: 60 },
  );
});
