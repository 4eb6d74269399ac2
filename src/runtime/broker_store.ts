import type { BrokerStore, SqliteLike } from "../broker/mod.ts";
import { checkOwnerOnly, createOwnerOnly, syncFolder } from "./file_owner_only.ts";

/**
 * Opens a file in which `memoryBroker` keeps what it moves, so that it survives a restart and a crash of the machine.
 *
 * It is a SQLite database that only this user can open; `<path>-wal` beside it belongs to it. One broker at a time uses it,
 * and the folder must be one that nobody else can change. On Deno it needs `--allow-read` and `--allow-write` for the
 * folder and `--allow-sys=uid`; on Node it needs version 22.13.
 *
 * @example A broker that survives
 * ```ts ignore
 * import { memoryBroker } from "@postern/rpc/broker";
 * import { brokerStore } from "@postern/rpc/deno";
 *
 * await using broker = memoryBroker({ store: await brokerStore("data/broker.db") });
 * ```
 *
 * @param path Where the file is, or is to be; the folder must be there.
 * @returns The store, for one broker, which disposes it.
 * @throws {Error} Others may open the file, another broker uses it, it is damaged or of another program, or this runtime has
 *   no SQLite.
 */
export async function brokerStore(path: string): Promise<BrokerStore> {
  const { DatabaseSync } = await loadSqlite();
  await createOrCheck(path);
  // Loaded where it is used: most programs that serve have no broker.
  const { sqliteStore } = await import("../broker/mod.ts");
  return sqliteStore(new DatabaseSync(path));
}

/** What is used of `node:sqlite`, whose types came after Node 20. */
interface NodeSqlite {
  readonly DatabaseSync: new (path: string) => SqliteLike;
}

async function loadSqlite(): Promise<NodeSqlite> {
  try {
    return await import("node:sqlite") as unknown as NodeSqlite;
  } catch (cause) {
    throw new Error("Cannot open the broker's database: Node has SQLite from version 22.13 on", { cause });
  }
}

async function createOrCheck(path: string): Promise<void> {
  const file = { what: "broker's database", path };
  try {
    // SQLite gives the files beside it the mode of this one.
    await (await createOwnerOnly(file)).close();
    await syncFolder(path);
  } catch (error) {
    if ((error as { readonly code?: unknown } | null)?.code !== "EEXIST") throw error;
    await checkOwnerOnly(file);
  }
}
