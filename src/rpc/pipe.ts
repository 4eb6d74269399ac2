/**
 * Carries whole messages both ways, in order: a WebSocket, or what stands for one.
 *
 * Text is used for the first message of each side only, and everything after it is binary.
 */
export interface Pipe {
  /**
   * Sends a message; one that cannot be sent any more is dropped, and the other end is told that the pipe is closed.
   *
   * @param message The message; its bytes are not changed afterwards.
   */
  send(message: Uint8Array<ArrayBuffer> | string): void;
  /** How many bytes were handed over that have not left yet, as far as the runtime tells. */
  readonly bufferedBytes: number;
  /**
   * Closes it, once; again does nothing.
   *
   * @param code The WebSocket close code (RFC 6455, section 7.4).
   * @param reason A few constant words, at most 123 bytes.
   */
  close(code: number, reason: string): void;
}

/** What a pipe tells the one who uses it. */
export interface PipeUser {
  /** A message came. */
  receive(message: Uint8Array | string): void;
  /** The pipe is closed, whoever closed it; told once. */
  closed(): void;
}

/** What a server says to a request that wants to become a WebSocket: a refusal, or what the runtime has to do. */
export type Upgrade = Response | {
  /** The subprotocol to select. */
  readonly protocol: string;
  /** The largest message to take, in bytes. */
  readonly maxMessageBytes: number;
  /** Begins the connection, once the runtime has opened it. */
  open(pipe: Pipe): PipeUser;
};
