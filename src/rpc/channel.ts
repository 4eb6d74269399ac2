/**
 * Proves what follows an admitted request, block by block and in order: the messages of a stream, the frames of a
 * connection. Each direction has a chain of its own, so that a block which was changed, added, left out, swapped or cut
 * is not the next one.
 */
export interface Channel {
  /**
   * Proves the next block that is sent.
   *
   * @param block The block.
   * @returns Its proof, {@linkcode PROOF_BYTES} bytes.
   */
  seal(block: Uint8Array): Uint8Array;
  /**
   * Checks the next block that was received; nothing of it may be used before.
   *
   * @param block The block.
   * @param proof Its proof.
   * @throws {RpcError} It is not the next block of the other side, or what the stream was let in for has ended.
   */
  open(block: Uint8Array, proof: Uint8Array): void;
}

/** How long the proof of a block is, in bytes. */
export const PROOF_BYTES = 16;
