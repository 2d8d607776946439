ARG BASE_DOCKER={base}

# stage 1 for constructing the zip
FROM ${BASE_DOCKER} AS gradleBuild
LABEL stage=gatkIntermediateBuildImage
ARG RELEASE=false

RUN ls .
ADD . /gatk
WORKDIR /gatk
{tools}
RUN export GRADLE_OPTS="-Xmx4048m -Dorg.gradle.daemon=false" && gradle clean collectBundleIntoDir -Drelease=$RELEASE
RUN mkdir -p build/x-bundle-files-collected lib && cp pom.xml build/x-bundle-files-collected/gatk-1-local.jar && \
    cp pom.xml build/x-bundle-files-collected/gatk-1-spark.jar && cp pom.xml lib/libpgen.so
RUN cp -r $( find /gatk/build -name "*bundle-files-collected" )/ /gatk/unzippedJar/
RUN chmod -R a+rw /gatk/unzippedJar

FROM ${BASE_DOCKER}

RUN apt update || \
    rm -rf /var/lib/apt/lists/*

WORKDIR /gatk

RUN chmod -R a+rw /gatk
# Location of the unzipped bundle files
COPY --from=gradleBuild /gatk/unzippedJar .

RUN ln -s $( find /gatk -name "gatk*local.jar" ) gatk.jar
RUN ln -s $( find /gatk -name "gatk*spark.jar" ) gatk-spark.jar

WORKDIR /root

RUN mkdir /gatkCloneMountPoint
RUN mkdir .gradle

WORKDIR /gatk

ENV CI true
RUN echo "source activate gatk" > /root/run_unit_tests.sh && \
    echo "export TEST_JAR=\$( find /jars -name \"gatk*test.jar\" )" >> /root/run_unit_tests.sh && \
    echo "export GATK_JAR=$( find /gatk -name "gatk*local.jar" )" >> /root/run_unit_tests.sh && \
    grep -qxF 'export GATK_JAR=/gatk/gatk-1-local.jar' /root/run_unit_tests.sh && \
    grep -qF '$( find /jars -name "gatk*test.jar" )' /root/run_unit_tests.sh

COPY --from=gradleBuild /gatk/lib/libpgen.so /usr/lib/libpgen.so
ENV CLASSPATH /gatk/lib/libpgen.so:$CLASSPATH

WORKDIR /root
RUN cp -r /root/run_unit_tests.sh /gatk
ENV CLASSPATH /gatk/gatk.jar:$CLASSPATH

WORKDIR /gatk
ENV PATH $CONDA_PATH/envs/gatk/bin:$CONDA_PATH/bin:$PATH

CMD ["bash", "--init-file", "/gatk/gatkenv.rc"]

ENV PATH /gatk:$PATH
