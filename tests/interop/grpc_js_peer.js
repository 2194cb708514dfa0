// SPDX-License-Identifier: Apache-2.0
//
// The echo service, and a client of it, on @grpc/grpc-js, which NODE_PATH must find.
//   node grpc_js_peer.js serve TARGET [CHAIN KEY ROOTS]     prints "listening ADDRESS"; ends when its input does
//   node grpc_js_peer.js call TARGET [CHAIN KEY ROOTS]      runs its cases, prints a line for each; exit 0: all was right
'use strict';
const fs = require('fs');
const grpc = require('@grpc/grpc-js');

const CAP = 4 << 20;
const same = (bytes) => bytes;
const options = {'grpc.max_receive_message_length': CAP, 'grpc.max_send_message_length': -1};

function method(name, requestStream, responseStream) {
    return {path: `/echo.Echo/${name}`, requestStream, responseStream, requestSerialize: same, requestDeserialize: same,
            responseSerialize: same, responseDeserialize: same};
}

const service = {
    Unary: method('Unary', false, false),
    Status: method('Status', false, false),
    Numbers: method('Numbers', false, true),
    Chat: method('Chat', true, true),
    Collect: method('Collect', true, false),
    Hold: method('Hold', false, false),
};

function fill(length, index) {
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) {
        out[i] = i * 7 + index + (i >> 8);
    }
    return out;
}

function ask(num, length) {
    const out = Buffer.alloc(8);
    out.writeUInt32BE(num, 0);
    out.writeUInt32BE(length, 4);
    return out;
}

function metadataOf(entries) {
    const made = new grpc.Metadata();
    Object.entries(entries).forEach(([name, value]) => made.set(name, value));
    return made;
}

const handlers = {
    Unary(call, done) {
        done(null, call.request);
    },
    Status(call, done) {
        call.sendMetadata(metadataOf({'x-unknown': 'is fine'}));
        done({code: call.request[0], details: call.request.subarray(1).toString(),
              metadata: metadataOf({'x-unknown-bin': Buffer.from([0, 1, 255])})});
    },
    async Numbers(call) {
        const num = call.request.readUInt32BE(0), length = call.request.readUInt32BE(4);
        for (let index = 0; index < num && !call.cancelled; index++) {
            if (!call.write(fill(length, index))) {
                await new Promise((next) => { call.once('drain', next); call.once('cancelled', next); });
            }
        }
        call.end();
    },
    Chat(call) {
        call.on('data', (bytes) => call.write(bytes));
        call.on('end', () => call.end());
    },
    Collect(call, done) {
        let sum = 0;
        call.on('data', (bytes) => { sum += bytes.length; });
        call.on('end', () => {
            const answer = Buffer.alloc(8);
            answer.writeBigUInt64BE(BigInt(sum));
            done(null, answer);
        });
    },
    Hold() {},
};

function serve(target, files) {
    const server = new grpc.Server(options);
    const [chain, key, roots] = files.map((file) => fs.readFileSync(file));
    const credentials = files.length > 0 ? grpc.ServerCredentials.createSsl(roots, [{cert_chain: chain, private_key: key}], true)
                                         : grpc.ServerCredentials.createInsecure();
    server.addService(service, handlers);
    server.bindAsync(target, credentials, (error, port) => {
        if (error) {
            throw error;
        }
        console.log(`listening ${target.replace(/:0$/, `:${port}`)}`);
    });
    process.stdin.on('end', () => { server.forceShutdown(); }).resume();
}

function equal(got, wanted, what) {
    if (!(Buffer.isBuffer(got) ? got.equals(wanted) : got === wanted)) {
        throw new Error(`${what}: ${String(got).slice(0, 80)} instead of ${String(wanted).slice(0, 80)}`);
    }
}

const soon = () => ({deadline: Date.now() + 20000});

function unary(client, name, bytes, entries = {}, how = soon()) {
    return new Promise((resolve) => {
        const call = client.makeUnaryRequest(`/echo.Echo/${name}`, same, same, bytes, metadataOf(entries), how,
                                             (error, answer) => resolve({error, answer, call}));
        if (how.cancels) {
            setImmediate(() => call.cancel());
        }
    });
}

async function readAll(call) {
    const got = [];
    for await (const bytes of call) {
        got.push(bytes);
    }
    return got;
}

const cases = {
    async 'unary of every length'(client) {
        for (const length of [0, 1, 5, 16379, 16384, 65536, 1 << 20, CAP]) {
            const {error, answer} = await unary(client, 'Unary', fill(length, 3));
            equal(error, null, `an error for ${length}`);
            equal(answer, fill(length, 3), `${length} bytes`);
        }
    },
    async 'a message over the cap'(client) {
        const {error} = await unary(client, 'Unary', Buffer.alloc(CAP + 1));
        equal(error.code, grpc.status.RESOURCE_EXHAUSTED, error.message);
        equal(error.details.includes('message_bytes_max'), true, error.details);
    },
    async 'every status'(client) {
        const words = '50% of \u00e4\u20ac\n, no';
        for (let code = 1; code <= 16; code++) {
            const asked = Buffer.concat([Buffer.from([code]), Buffer.from(words)]);
            const {error} = await unary(client, 'Status', asked, {'x-unknown': 'is fine', 'x-unknown-bin': Buffer.from([0, 1, 255])});
            equal(error.code, code, 'the code');
            equal(error.details, words, 'the words');
        }
    },
    async 'no such method'(client) {
        const {error} = await unary(client, 'Nothing', Buffer.alloc(3));
        equal(error.code, grpc.status.UNIMPLEMENTED, error.message);
    },
    async 'streams'(client) {
        for (const [num, length] of [[0, 1], [1000, 0], [3000, 100], [20, 700000]]) {
            const got = await readAll(client.makeServerStreamRequest('/echo.Echo/Numbers', same, same, ask(num, length),
                                                                     new grpc.Metadata(), soon()));
            equal(got.length, num, 'how many');
            got.forEach((bytes, index) => equal(bytes, fill(length, index), `message ${index}`));
        }
    },
    async 'chats'(client) {
        for (const [num, length] of [[0, 0], [500, 10], [30, 200000]]) {
            const call = client.makeBidiStreamRequest('/echo.Echo/Chat', same, same, new grpc.Metadata(), soon());
            for (let index = 0; index < num; index++) {
                call.write(fill(length, index));
            }
            call.end();
            const got = await readAll(call);
            equal(got.length, num, 'how many');
            got.forEach((bytes, index) => equal(bytes, fill(length, index), `message ${index}`));
        }
    },
    async 'deadline and cancel'(client) {
        const late = await unary(client, 'Hold', Buffer.alloc(1), {}, {deadline: Date.now() + 200});
        equal(late.error.code, grpc.status.DEADLINE_EXCEEDED, late.error.message);
        const cancelled = await unary(client, 'Hold', Buffer.alloc(1), {}, {cancels: true});
        equal(cancelled.error.code, grpc.status.CANCELLED, cancelled.error.message);
    },
};

async function call(target, files) {
    const [chain, key, roots] = files.map((file) => fs.readFileSync(file));
    const credentials = files.length > 0 ? grpc.credentials.createSsl(roots, key, chain) : grpc.credentials.createInsecure();
    const client = new grpc.Client(target.replace('127.0.0.1', 'localhost'), credentials, options);
    let status = 0;
    for (const [name, run] of Object.entries(cases)) {
        try {
            await run(client);
            console.log(`ok ${name}`);
        } catch (error) {
            console.log(`FAILED ${name} ${error.stack}`);
            status = 1;
        }
    }
    client.close();
    process.exitCode = status;
}

const [role, target, ...files] = process.argv.slice(2);
(role === 'serve' ? serve : call)(target, files);
