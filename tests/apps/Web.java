// SPDX-License-Identifier: Apache-2.0
//
// A web server and a client of it, in plain and over TLS of its own (JSSE), each a program:
// Web.java serve ADDRESS KEYSTORE, Web.java call ADDRESS KEYSTORE.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.FileInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Web {
    static final int CALLS = 200;

    static SSLContext context(String path) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new FileInputStream(path), "changeit".toCharArray());
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, "changeit".toCharArray());
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext made = SSLContext.getInstance("TLSv1.3");
        made.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return made;
    }

    static void echo(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static void serve(String address, String store) throws Exception {
        HttpsServer secure = HttpsServer.create(new InetSocketAddress(address, 8443), 0);
        secure.setHttpsConfigurator(new HttpsConfigurator(context(store)));
        for (HttpServer server : new HttpServer[] {secure, HttpServer.create(new InetSocketAddress(address, 8080), 0)}) {
            server.createContext("/", Web::echo);
            server.setExecutor(Executors.newFixedThreadPool(16));
            server.start();
        }
    }

    static void call(String base, SSLContext context) throws Exception {
        HttpClient client = HttpClient.newBuilder().sslContext(context).version(HttpClient.Version.HTTP_1_1).build();
        var calls = new ArrayList<CompletableFuture<Boolean>>();
        for (int i = 1; i <= CALLS; i++) {
            byte[] body = new byte[i * 1000];
            Arrays.fill(body, (byte) i);
            HttpRequest request =
                HttpRequest.newBuilder(URI.create(base + "/" + i)).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
            calls.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                          .thenApply(answer -> answer.statusCode() == 200 && Arrays.equals(answer.body(), body)));
            if (calls.size() % 20 == 0) {
                calls.get(calls.size() - 20).join();
            }
        }
        long right = calls.stream().filter(CompletableFuture::join).count();
        System.out.println(base.split(":")[0] + ": " + right + " of " + CALLS + " answers are right");
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("serve")) {
            serve(args[1], args[2]);
        } else {
            call("http://" + args[1] + ":8080", context(args[2]));
            call("https://" + args[1] + ":8443", context(args[2]));
        }
    }
}
